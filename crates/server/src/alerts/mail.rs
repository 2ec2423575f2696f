//! Mail by SMTP: a text and an HTML part, and headers that keep the messages of one incident in one thread.

use std::time::{Duration, SystemTime};

use askama::Template;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls as Layer, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use secrecy::{ExposeSecret, SecretString};

use super::channel::{MailSettings, SendError, Tls};
use super::event::cut;
use super::notice::one_line;
use super::outgoing::Outgoing;

/// How long each answer of the server may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// So much of a server's words is told.
const TOLD: usize = 200;
/// Receivers of one message.
const RECEIVERS: usize = 50;

/// A way to people's mailboxes.
#[derive(Clone)]
pub(super) struct Mail {
    from: Mailbox,
    to: Vec<Mailbox>,
    host: String,
    port: u16,
    /// The two, as they are shown.
    server: String,
    login: Option<(String, SecretString)>,
    tls: Tls,
    local: bool,
}

impl std::fmt::Debug for Mail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mail").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Mail {
    pub(super) fn new(settings: &MailSettings) -> Result<Self, String> {
        let (host, port) = split(&settings.server, settings.tls)?;
        let local = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if settings.tls == Tls::None && settings.login.is_some() && !local {
            return Err("a password must not travel in the clear: set tls to starttls or tls".to_owned());
        }
        let mailbox = |text: &str| {
            text.parse::<Mailbox>()
                .map_err(|e| format!("`{}` is no mail address ({e})", one_line(&cut(text, 80))))
        };
        let from = mailbox(&settings.from)?;
        let to = settings.to.iter().map(|text| mailbox(text)).collect::<Result<Vec<_>, _>>()?;
        if to.is_empty() || to.len() > RECEIVERS {
            return Err(format!("`to` names {} receivers; it takes 1 to {RECEIVERS}", to.len()));
        }
        Ok(Self {
            from,
            to,
            server: format!("{host}:{port}"),
            host,
            port,
            login: settings.login.clone(),
            tls: settings.tls,
            local,
        })
    }

    /// Made for each message: reading the system's certificates takes longer than many a command has.
    fn transport(&self) -> Result<AsyncSmtpTransport<Tokio1Executor>, SendError> {
        // fails only if somebody has installed a provider already, which is as good
        let _ = rustls::crypto::ring::default_provider().install_default();
        let parameters = || {
            let made = TlsParameters::new(self.host.clone());
            made.map_err(|e| SendError::later(format!("TLS can't be used here ({e})")))
        };
        let layer = match self.tls {
            Tls::None => Layer::None,
            Tls::Starttls => Layer::Required(parameters()?),
            Tls::Tls => Layer::Wrapper(parameters()?),
        };
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(self.host.as_str())
            .port(self.port)
            .tls(layer)
            .hello_name(own_name())
            .timeout(Some(PATIENCE));
        if let Some((user, password)) = &self.login {
            let password = password.expose_secret().to_owned();
            transport = transport.credentials(Credentials::new(user.clone(), password));
        }
        Ok(transport.build())
    }

    pub(super) fn place(&self) -> String {
        let to: Vec<String> = self.to.iter().map(|it| it.email.to_string()).collect();
        format!("{} by {}", to.join(", "), self.server)
    }

    pub(super) fn secret(&self) -> Option<&SecretString> {
        self.login.as_ref().map(|(_, password)| password)
    }

    pub(super) fn warning(&self) -> Option<&'static str> {
        (self.tls == Tls::None && !self.local)
            .then_some("mail travels in the clear: set tls to starttls or tls")
    }

    pub(super) async fn send(&self, message: &Outgoing<'_>) -> Result<(), SendError> {
        let mail = self
            .compose(message)
            .map_err(|e| SendError::Refused { why: format!("the mail can't be made: {e}") })?;
        self.transport()?.send(mail).await.map(drop).map_err(|e| self.told(&e))
    }

    fn compose(&self, message: &Outgoing<'_>) -> Result<Message, lettre::error::Error> {
        let it = message.notice;
        let id = |sequence: u32| format!("<coroner.{}.{sequence}@{}>", it.incident, self.from.email.domain());
        let seconds = u64::try_from(message.at.as_second()).unwrap_or(0);
        let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
        let mut builder = Message::builder()
            .from(self.from.clone())
            .subject(it.subject())
            // of the first try: a receiver that gets it twice can tell
            .message_id(Some(id(it.sequence)))
            .date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
            .raw_header(HeaderValue::new(automatic, "auto-generated".to_owned()));
        for to in &self.to {
            builder = builder.to(to.clone());
        }
        if it.sequence > 1 {
            builder = builder.in_reply_to(id(1)).references(id(1));
        }
        builder.multipart(MultiPart::alternative_plain_html(message.text(), html(message)))
    }

    /// What the server, or the way to it, says.
    fn told(&self, error: &lettre::transport::smtp::Error) -> SendError {
        let mut words = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(inner) = cause {
            if !words.contains(&inner.to_string()) {
                words.push_str(&format!(": {inner}"));
            }
            cause = inner.source();
        }
        if let Some(password) = self.secret() {
            words = words.replace(password.expose_secret(), "***");
        }
        let why = one_line(&cut(&format!("{}: {words}", self.server), TOLD));
        if error.is_permanent() { SendError::Refused { why } } else { SendError::later(why) }
    }
}

/// What we call ourselves: strict servers want a name of the machine, or an address in brackets.
fn own_name() -> ClientId {
    let host = coroner_store::Owner::this_process().host;
    let plain = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-".contains(c));
    if plain { ClientId::Domain(host) } else { ClientId::Ipv4(std::net::Ipv4Addr::LOCALHOST) }
}

fn split(server: &str, tls: Tls) -> Result<(String, u16), String> {
    let usual = match tls {
        Tls::Starttls => 587,
        Tls::Tls => 465,
        Tls::None => 25,
    };
    let wrong = || format!("`{}` is no server: give HOST or HOST:PORT", one_line(&cut(server, 80)));
    let (host, port) = match server.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.starts_with('[') => {
            (host, port.parse().map_err(|_| wrong())?)
        }
        _ => (server, usual),
    };
    let host = host.trim_matches(['[', ']']);
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-:_".contains(c);
    if host.is_empty() || !host.chars().all(plain) { Err(wrong()) } else { Ok((host.to_owned(), port)) }
}

#[derive(Template)]
#[template(path = "mail.html")]
struct Page<'a> {
    what: String,
    whose: String,
    colour: &'static str,
    severity: String,
    fix: &'a str,
    causes: &'a [super::notice::Cause],
    cause_count: u64,
    evidence: &'a [super::event::Line],
    links: Vec<(&'static str, String)>,
    command: Option<String>,
    why: String,
}

fn html(message: &Outgoing<'_>) -> String {
    use coroner_diagnosis::Severity;
    let it = message.notice;
    let page = Page {
        what: it.what(),
        whose: it.whose(),
        colour: match (it.about, it.severity) {
            (super::notice::About::Test, _) => "#4f46e5",
            (_, Severity::Critical) => "#b91c1c",
            (_, Severity::High) => "#c2410c",
            (_, Severity::Medium) => "#a16207",
            (_, Severity::Low) => "#475569",
        },
        severity: match it.about {
            super::notice::About::Test => "TEST".to_owned(),
            _ => it.severity.to_string().to_uppercase(),
        },
        fix: &it.latest.fix,
        causes: &it.causes,
        cause_count: it.cause_count,
        evidence: &it.latest.evidence,
        links: it.links(message.desk),
        command: it.command(),
        why: message.why(),
    };
    // the template is checked when it is compiled: rendering it into a string does not fail
    crate::page::made_visible(page.render().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::super::event::{Line, Sample};
    use super::super::notice::{Kind, Notice};
    use super::*;

    fn mail() -> Mail {
        Mail::new(&MailSettings {
            server: "127.0.0.1:2525".into(),
            tls: Tls::None,
            login: None,
            from: "Coroner <coroner@example.org>".into(),
            to: vec!["ada@example.org".into()],
        })
        .unwrap()
    }

    /// As it is sent.
    fn composed(notice: &Notice) -> String {
        let outgoing = Outgoing {
            delivery: "msg_i1_1",
            channel: "team",
            notice,
            at: jiff::Timestamp::from_second(1_760_667_000).unwrap(),
            desk: Some("https://coroner.example"),
        };
        String::from_utf8(mail().compose(&outgoing).unwrap().formatted()).unwrap()
    }

    #[test]
    fn nothing_from_outside_is_a_header_or_markup() {
        let nasty = "x\r\nBcc: evil@example.org\r\n\r\n<script>alert(1)</script>\"><img src=x> \u{202e}live {{7*7}} é";
        let mut notice = Notice::test("i1", 0);
        notice.kind = Kind::Opened;
        notice.about = super::super::notice::About::Group;
        notice.hosts = vec![nasty.to_owned()];
        let line = Line { source: "log".into(), line: 1, text: nasty.to_owned() };
        let (cause, fix) = (nasty.to_owned(), nasty.to_owned());
        notice.latest = Sample { number: 1, id: nasty.to_owned(), cause, fix, evidence: vec![line] };
        notice.signature = Some("\"><script>".to_owned());
        notice.subject = notice.subject_of_first();
        let outgoing = Outgoing {
            delivery: "msg_i1_1",
            channel: "team",
            notice: &notice,
            at: jiff::Timestamp::UNIX_EPOCH,
            desk: Some("https://coroner.example"),
        };
        let page = html(&outgoing);
        assert!(!page.contains("<script") && !page.contains("<img") && !page.contains('\u{202e}'), "{page}");
        assert!(page.contains("&#60;script&#62;") || page.contains("&lt;script&gt;"), "{page}");
        let text = outgoing.text();
        assert!(!text.contains('\r') && !text.contains("\nBcc") && !text.contains('\u{202e}'), "{text:?}");
        let whole = composed(&notice);
        let head = whole.split("\r\n\r\n").next().unwrap();
        assert!(head.lines().all(|line| !line.starts_with("Bcc")), "{head}");
        assert!(
            head.contains("Subject: ") && head.contains("Message-ID: <coroner.i1.1@example.org>"),
            "{head}"
        );
    }

    #[test]
    fn messages_of_an_incident_stand_in_one_thread() {
        let first = Notice::test("i1", 0);
        let second = Notice { sequence: 2, ..first.clone() };
        let (first, second) = (composed(&first), composed(&second));
        assert!(!first.contains("In-Reply-To"), "{first}");
        for header in [
            "Message-ID: <coroner.i1.2@example.org>",
            "In-Reply-To: <coroner.i1.1@example.org>",
            "References: <coroner.i1.1@example.org>",
            "Subject: Re: [coroner] test: messages arrive here",
            "Auto-Submitted: auto-generated",
        ] {
            assert!(second.contains(header), "{header}: {second}");
        }
        // the same at every try
        let date = |mail: &str| mail.lines().find(|line| line.starts_with("Date: ")).unwrap().to_owned();
        assert_eq!(date(&first), "Date: Fri, 17 Oct 2025 02:10:00 +0000");
    }

    #[test]
    fn servers_and_addresses_are_checked() {
        for (server, tls, expected) in [
            ("smtp.example.org", Tls::Starttls, Some(("smtp.example.org", 587))),
            ("smtp.example.org", Tls::Tls, Some(("smtp.example.org", 465))),
            ("127.0.0.1:2525", Tls::None, Some(("127.0.0.1", 2525))),
            ("[::1]:25", Tls::None, Some(("::1", 25))),
            ("smtp://x", Tls::None, None),
            ("a b", Tls::None, None),
            ("x:port", Tls::None, None),
            ("", Tls::None, None),
        ] {
            let got = split(server, tls).ok();
            assert_eq!(got, expected.map(|(host, port)| (host.to_owned(), port)), "{server}");
        }
        let settings = MailSettings {
            server: "smtp.example.org".into(),
            tls: Tls::None,
            login: Some(("ada".into(), SecretString::from("hunter2"))),
            from: "coroner@example.org".into(),
            to: vec!["ada@example.org".into()],
        };
        let wrong = |settings: MailSettings| Mail::new(&settings).unwrap_err();
        assert!(wrong(settings.clone()).contains("in the clear"));
        let settings = MailSettings { login: None, ..settings };
        assert!(Mail::new(&settings).unwrap().warning().is_some());
        assert!(wrong(MailSettings { to: vec![], ..settings.clone() }).contains("1 to 50"));
        let injected = vec!["ada@example.org\r\nRCPT TO:<evil@example.org>".to_owned()];
        assert!(wrong(MailSettings { to: injected, ..settings }).contains("no mail address"));
    }
}
