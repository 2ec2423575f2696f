//! Alerts at the end of a command: of the loop that something stopped, and of a run that is told to end meanwhile.

use std::io::Read;
use std::net::TcpListener;

use rustix::process::{Pid, Signal, kill_process};

use super::receivers::Receiver;
use super::{configured, hook_channel, list, states, until_told};
use crate::evolve;
use crate::rig::{Home, started, text};

const BREAKS: &str = "
def evaluate(candidate, inputs):
    error = abs(candidate.value(1.0) - 10.0)
    if error != 7.0:
        raise OSError('the rig is on fire')
    return {'error': error}
";

#[test]
fn a_loop_that_is_stopped_is_told_once() {
    let (home, hook) = (evolve::home(), Receiver::start());
    home.file("evaluate.py", BREAKS);
    let rule = "[[alerts.rules]]\nname = \"loops\"\nloop_stopped = true\n";
    let channel =
        hook_channel("pager", "webhook", &hook.address).replace("secret_env = \"CORONER_HOOK_KEY\"\n", "");
    configured(&home, &(channel + rule));
    let output = evolve::done(&home, &["--generations", "50"]);
    if output.status.code() != Some(1) && !evolve::can_run(&output, "a_loop_that_is_stopped_is_told_once") {
        return;
    }
    assert_eq!(output.status.code(), Some(1), "{}\n{}", text(&output.stdout), text(&output.stderr));
    until_told(&home, 1, || hook.posted().len());
    let [posted] = hook.posted().try_into().unwrap();
    let body = posted.json();
    let said = body["summary"].as_str().unwrap_or_default();
    assert!(said.starts_with("[coroner] critical: loop stopped: Run 1 of line was stopped: "), "{body}");
    assert!(posted.body.contains("coroner evolve TASK.toml --run 1"), "{body}");
    assert_eq!(states(&home), [("pager".into(), "sent".into())]);
    // told is told, by whoever looks next
    let again = home.output(&["alerts", "deliver", "--retry"]);
    assert_eq!(again.status.code(), Some(0), "{}", text(&again.stderr));
    assert_eq!(hook.posted().len(), 1);
}

#[test]
fn a_loop_that_ends_as_it_should_tells_nobody() {
    let (home, hook) = (evolve::home(), Receiver::start());
    let rule = "[[alerts.rules]]\nname = \"loops\"\nloop_stopped = true\n";
    let channel =
        hook_channel("pager", "webhook", &hook.address).replace("secret_env = \"CORONER_HOOK_KEY\"\n", "");
    configured(&home, &(channel + rule));
    let output = evolve::done(&home, &["--generations", "4"]);
    if !evolve::can_run(&output, "a_loop_that_ends_as_it_should_tells_nobody") {
        return;
    }
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(hook.posted().len(), 0);
}

#[test]
fn who_ends_a_run_that_tells_reads_its_last_words_once() {
    let home = Home::new();
    // takes the message, and does not answer
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    configured(&home, &hook_channel("slack", "slack", &address));
    let child = started(home.coroner(&["run", "--", "python3", "-c", "import torchh"]));
    let (mut stream, _) = listener.accept().unwrap();
    stream.read_exact(&mut [0; 4]).unwrap();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "the command's own: {said}");
    assert_eq!(said.matches("coroner show 1").count(), 1, "{said}");
    assert!(said.trim_end().ends_with("coroner show 1"), "{said}");
    assert_eq!(list(&home)[0].1, "waiting", "what was not taken is told by the next");
}
