//! Chromium, driven as a person would use it; Debian's packages are `chromium` and `chromium-driver`.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fantoccini::elements::Element;
use fantoccini::error::ErrorStatus;
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Longer than anything takes here; only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(40);

pub(crate) struct Browser {
    pub(crate) client: Client,
    driver: Child,
    home: String,
    _profile: TempDir,
}

/// A command of the developer tools.
#[derive(Debug)]
struct Tools(&'static str, Value);

impl WebDriverCompatibleCommand for Tools {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/goog/cdp/execute", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &url::Url) -> (axum::http::Method, Option<String>) {
        (axum::http::Method::POST, Some(json!({"cmd": self.0, "params": self.1}).to_string()))
    }
}

impl Browser {
    /// `None` where there is no browser; why is said.
    pub(crate) async fn open(test: &str, home: &str) -> Option<Self> {
        for program in ["chromedriver", "chromium"] {
            if !on_path(program) {
                println!("skipped: {test}: {program} is not installed (Debian: chromium, chromium-driver)");
                return None;
            }
        }
        let profile = tempfile::tempdir().unwrap();
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // so that the browser can be ended with it, whatever becomes of the test
            .process_group(0)
            .spawn()
            .unwrap();
        // it takes one that is free, and says which
        let mut said = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port: u16 = said
            .find_map(|line| {
                line.unwrap().split_once("successfully on port ")?.1.trim_end_matches('.').parse().ok()
            })
            .unwrap();
        // what it says later is nobody's to wait for
        std::thread::spawn(move || said.for_each(drop));
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1440,900",
            &format!("--user-data-dir={}", profile.path().display()),
        ];
        let wanted = json!({"browserName": "chrome", "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"}});
        let Value::Object(wanted) = wanted else { unreachable!() };
        let address = format!("http://127.0.0.1:{port}");
        let mut tries = 0;
        let client = loop {
            let mut connector = HttpConnector::new();
            connector.set_connect_timeout(Some(PATIENCE));
            match ClientBuilder::new(connector).capabilities(wanted.clone()).connect(&address).await {
                Ok(client) => break client,
                Err(e) if tries == 100 => panic!("chromedriver does not answer: {e}"),
                Err(_) => tries += 1,
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        Some(Self { client, driver, home: home.to_owned(), _profile: profile })
    }

    pub(crate) async fn go(&self, path: &str) {
        self.client.goto(&format!("{}{path}", self.home)).await.unwrap();
    }

    /// A screen of this size, in this theme.
    pub(crate) async fn face(&self, width: u32, height: u32, theme: &str) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.client.issue_cmd(Tools("Emulation.setDeviceMetricsOverride", size)).await.unwrap();
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": theme}]});
        self.client.issue_cmd(Tools("Emulation.setEmulatedMedia", media)).await.unwrap();
    }

    /// What this expression is on the page.
    pub(crate) async fn value(&self, expression: &str) -> Value {
        self.client.execute(&format!("return ({expression});"), vec![]).await.unwrap()
    }

    /// Waits until this expression is true.
    pub(crate) async fn until(&self, expression: &str) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            // a page that is being left has no answer
            let holds = self.client.execute(&format!("return !!({expression});"), vec![]).await;
            if matches!(holds, Ok(Value::Bool(true))) {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "never came true: {expression}");
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    }

    /// Does this expression come true in a few seconds?
    pub(crate) async fn soon(&self, expression: &str) -> bool {
        for _ in 0..100 {
            if self.value(&format!("!!({expression})")).await == true {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        false
    }

    pub(crate) async fn find(&self, selector: &str) -> Element {
        self.client.wait().at_most(PATIENCE).for_element(Locator::Css(selector)).await.unwrap()
    }

    pub(crate) async fn click(&self, selector: &str) {
        self.find(selector).await.click().await.unwrap();
    }

    /// Types into whatever has the focus.
    pub(crate) async fn type_keys(&self, keys: &str) {
        let focused = self.client.active_element().await.unwrap();
        match focused.send_keys(keys).await {
            Ok(()) => {}
            // a page without any focused element is typed at as a whole
            Err(e) if e.is_stale_element_reference() => {
                self.find("body").await.send_keys(keys).await.unwrap();
            }
            Err(e) => panic!("{e}"),
        }
    }

    pub(crate) async fn path(&self) -> String {
        let url = self.client.current_url().await.unwrap();
        url.as_str().strip_prefix(&self.home).unwrap().to_owned()
    }

    /// Was a message box opened, by whatever ran?
    pub(crate) async fn is_alerted(&self) -> bool {
        match self.client.get_alert_text().await {
            Ok(_) => true,
            Err(e) => {
                assert!(
                    matches!(&e, fantoccini::error::CmdError::Standard(e) if e.error == ErrorStatus::NoSuchAlert),
                    "{e}"
                );
                false
            }
        }
    }

    pub(crate) async fn close(self) {
        _ = self.client.clone().close().await;
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // the driver and the browser that it started
        _ = Command::new("kill").args(["-KILL", "--", &format!("-{}", self.driver.id())]).status();
        _ = self.driver.wait();
    }
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Where `scripts/test` puts the accessibility checker, axe-core from npm.
pub(crate) fn axe() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("../axe-core/package/axe.min.js")
}
