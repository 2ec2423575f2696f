//! A person at the dashboard, in a real browser, over real failures: logs that failing programs printed.

use std::path::Path;

use coroner_diagnosis::{Capture, Diagnosis, Log, Role};
use coroner_server::{Analyst, Settings};
use jiff::Timestamp;
use serde_json::json;

use crate::browser::{Browser, axe};
use crate::page::{NASTY, evidence, failed};
use crate::rig::{Rig, Rules, diagnosis};

/// Specimens of `fixtures/experiments`, the newest last.
const SPECIMENS: [&str; 6] = [
    "success-with-scary-words",
    "python-broken-pool",
    "nan-loss",
    "ansi-colours",
    "python-missing-module",
    "cascade-after-the-cause",
];

/// A desk that holds what these programs really printed, diagnosed.
async fn with_failures() -> (Rig, Vec<u64>) {
    let rig = Rig::open().await;
    let rules = Rules::built_in();
    let mut numbers = Vec::new();
    for name in SPECIMENS {
        let log =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/experiments").join(name).join("log");
        let log = std::fs::read(log).unwrap();
        let diagnosis = judged(&rules, &log);
        numbers.push(failed(&rig, None, &["bash", &format!("{name}.sh")], &log, diagnosis).await);
    }
    (rig, numbers)
}

fn judged(rules: &Rules, log: &[u8]) -> Diagnosis {
    rules.diagnose(&Capture { log: Log::new(log), ..Capture::default() })
}

async fn browser(test: &str, rig: &Rig) -> Option<Browser> {
    Browser::open(test, &format!("http://{}", rig.address)).await
}

#[tokio::test]
pub(crate) async fn from_the_table_to_the_evidence() {
    let (rig, numbers) = with_failures().await;
    let Some(browser) = browser("from_the_table_to_the_evidence", &rig).await else { return };
    browser.go("/experiments").await;
    browser.until(&format!("document.querySelectorAll('[data-row]').length === {}", numbers.len())).await;

    // filter: the choice goes into the address, and only what fits is left
    browser.value("(document.querySelector('select[name=category]').value = 'import_error', document.querySelector('select[name=category]').dispatchEvent(new Event('change', {bubbles: true})))").await;
    browser.until("location.search === '?category=import_error'").await;
    browser.until("document.querySelectorAll('[data-row]').length === 1").await;

    // the badge opens the analysis over the table; its address is in the bar
    browser.click("a[data-modal]").await;
    browser.until("document.querySelector('dialog[open] .told')").await;
    let number = numbers[4];
    assert_eq!(browser.path().await, format!("/experiments/{number}/analysis"));
    let told = browser.value("document.querySelector('dialog').innerText").await;
    let told = told.as_str().unwrap();
    for part in ["Import error", "HIGH", "Root cause", "Suggested fix", "Evidence", "candidate"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    // the fix can be copied
    assert_eq!(browser.value("document.querySelector('dialog [data-copy]').hidden").await, false);
    // focus stays inside, and comes back to the badge
    for _ in 0..25 {
        browser.type_keys("\u{e004}").await;
        assert_eq!(browser.value("!document.activeElement || document.activeElement === document.body || !!document.activeElement.closest('dialog')").await, true);
    }
    browser.type_keys("\u{e00c}").await;
    browser.until("!document.querySelector('dialog') && location.search === '?category=import_error'").await;
    browser.until("document.activeElement.matches('a[data-modal]')").await;

    // from the cited line into the log, which stands at it
    browser.click("a[data-modal]").await;
    browser.click("dialog .cause-line a").await;
    browser.until("document.querySelector('.lines.log .cause')").await;
    browser.until("(() => { const box = document.querySelector('.lines.log').getBoundingClientRect(); const line = document.querySelector('.lines.log .cause').getBoundingClientRect(); return line.top >= box.top && line.bottom <= box.bottom; })()").await;
    let line = browser.value("document.querySelector('.lines.log .cause').innerText").await;
    assert!(line.as_str().unwrap().contains("ModuleNotFoundError"), "{line}");
    browser.close().await;
    rig.end().await;
}

#[tokio::test]
pub(crate) async fn the_heads_of_the_table_sort_it() {
    let (rig, numbers) = with_failures().await;
    let Some(browser) = browser("the_heads_of_the_table_sort_it", &rig).await else { return };
    // severities and categories as the rows show them, from the top
    let column = |selector: &str| {
        format!(
            "[...document.querySelectorAll('tbody tr')].map((row) => row.querySelector('{selector}')?.innerText.trim() ?? '')"
        )
    };
    let head = "document.querySelector('th[aria-sort]')";
    browser.go("/experiments?q=bash").await;
    let newest = browser
        .value("[...document.querySelectorAll('tr[data-number]')].map((row) => +row.dataset.number)")
        .await;
    let mut expected: Vec<u64> = numbers.clone();
    expected.reverse();
    assert_eq!(newest, json!(expected), "the newest first");
    assert_eq!(browser.value(&format!("{head}.innerText + {head}.ariaSort")).await, "Started ↓descending");
    let rank = |word: &str| ["CRITICAL", "HIGH", "MEDIUM", "LOW"].iter().position(|it| *it == word).unwrap();
    // (head, what it says of the order, then again the other way around)
    for (name, cells, ways) in [
        ("Severity", ".sev", [("-severity", "descending"), ("severity", "ascending")]),
        ("Category", ".cat", [("category", "ascending"), ("-category", "descending")]),
    ] {
        for (sort, says) in ways {
            browser.value(&format!("[...document.querySelectorAll('th a.sort')].find((it) => it.innerText.startsWith('{name}')).focus()")).await;
            browser.type_keys("\u{e007}").await;
            browser.until(&format!("location.search === '?q=bash&sort={sort}'")).await;
            browser
                .until(&format!("{head}?.ariaSort === '{says}' && {head}.innerText.includes('{name}')"))
                .await;
            let shown = browser.value(&column(cells)).await;
            let shown: Vec<&str> = shown.as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
            assert_eq!(shown.len(), numbers.len());
            let mut in_order = shown.clone();
            match name {
                "Severity" => in_order.sort_by_key(|word| rank(word)),
                _ => in_order.sort_unstable(),
            }
            if sort.trim_start_matches('-') != sort && name == "Category" || sort == "severity" {
                in_order.reverse();
            }
            assert_eq!(shown, in_order, "{sort}");
            assert!(shown.iter().collect::<std::collections::BTreeSet<_>>().len() > 1, "nothing to sort");
        }
    }
    // the form and the head say the same, and back is back
    assert_eq!(browser.value("document.querySelector('select[name=sort]').value").await, "-category");
    browser.client.back().await.unwrap();
    browser.until("location.search === '?q=bash&sort=category'").await;
    browser.click("th:last-child a.sort").await;
    browser.until("location.search === '?q=bash'").await;
    browser.close().await;
    rig.end().await;
}

#[tokio::test]
pub(crate) async fn by_keyboard_alone() {
    let (rig, numbers) = with_failures().await;
    let Some(browser) = browser("by_keyboard_alone", &rig).await else { return };
    browser.go("/experiments").await;
    browser.type_keys("/").await;
    browser.until("document.activeElement.name === 'q'").await;
    browser.type_keys("bash\u{e007}").await;
    browser.until("location.search === '?q=bash'").await;
    browser.until(&format!("document.querySelectorAll('[data-row]').length === {}", numbers.len())).await;
    browser.type_keys("?").await;
    browser.until("document.querySelector('dialog.keys[open]')").await;
    browser.type_keys("\u{e00c}").await;
    browser.until("!document.querySelector('dialog')").await;
    for keys in ["j", "j", "j", "k"] {
        browser.type_keys(keys).await;
    }
    let second = numbers[numbers.len() - 2];
    browser.until(&format!("document.activeElement.closest('tr').dataset.number === '{second}'")).await;
    browser.type_keys("a").await;
    browser.until("document.querySelector('dialog[open] .told')").await;
    // from its evidence into the log, and back
    tab_to(&browser, "dialog .cause-line a").await;
    browser.type_keys("\u{e007}").await;
    browser
        .until(&format!("location.pathname === '/experiments/{second}' && location.hash.startsWith('#L')"))
        .await;
    browser.until("document.querySelector('.lines.log .cause')").await;
    browser.client.back().await.unwrap();
    browser
        .until("document.querySelector('main [data-analysis]') || document.querySelector('tr[data-number]')")
        .await;
    browser.go("/experiments?q=bash").await;
    for keys in ["j", "j"] {
        browser.type_keys(keys).await;
    }
    browser.until(&format!("document.activeElement.closest('tr').dataset.number === '{second}'")).await;
    // the badge itself opens it too
    tab_to(&browser, &format!("tr[data-number='{second}'] a[data-modal]")).await;
    browser.type_keys("\u{e007}").await;
    browser.until("document.querySelector('dialog[open] .told')").await;
    browser.type_keys("\u{e00c}").await;
    browser.until("!document.querySelector('dialog')").await;
    browser.type_keys("j").await;
    browser.type_keys("k").await;
    browser.type_keys("\u{e007}").await;
    browser.until(&format!("location.pathname === '/experiments/{second}'")).await;
    browser.close().await;
    rig.end().await;
}

/// Goes on by the keyboard until this has the focus.
async fn tab_to(browser: &Browser, selector: &str) {
    let there = format!("document.activeElement === document.querySelector(\"{selector}\")");
    for _ in 0..60 {
        if browser.value(&there).await == true {
            return;
        }
        browser.type_keys("\u{e004}").await;
    }
    panic!("{selector} is not reached by the keyboard");
}

#[tokio::test]
pub(crate) async fn a_hundred_thousand_lines_are_scrolled() {
    let rig = Rig::open().await;
    let log: String = (1..=100_000).map(|n| format!("step {n}: loss {}\n", 1.0 / f64::from(n))).collect();
    let mut found = diagnosis("CUDA out of memory");
    found.evidence = vec![evidence(70_123, "step 70123", Role::Cause)];
    let number = failed(&rig, None, &["python", "train.py"], log.as_bytes(), found).await;
    let Some(browser) = browser("a_hundred_thousand_lines_are_scrolled", &rig).await else { return };
    browser.go(&format!("/experiments/{number}")).await;
    browser.until("document.getElementById('L70123')?.className.includes('cause')").await;
    let height = browser.value("document.querySelector('.lines.log').scrollHeight").await;
    assert!(height.as_f64().unwrap() >= 100_000.0 * 20.0, "{height}");
    for (line, top) in [(100_000, 99_999 * 20), (1, 0), (50_000, 49_990 * 20)] {
        browser.value(&format!("document.querySelector('.lines.log').scrollTop = {top}")).await;
        browser.until(&format!("document.getElementById('L{line}')")).await;
        browser.until(&format!("(() => {{ const box = document.querySelector('.lines.log').getBoundingClientRect(); const line = document.getElementById('L{line}').getBoundingClientRect(); return line.top >= box.top - 1 && line.bottom <= box.bottom + 1; }})()")).await;
        let there = browser.value("document.querySelectorAll('.lines.log li').length").await;
        assert!(there.as_u64().unwrap() <= 2000, "{there} lines are in the page");
    }
    browser.click("[data-jump='70123']").await;
    browser.until("document.querySelector('#L70123.hit')").await;
    browser.close().await;
    rig.end().await;
}

#[tokio::test]
pub(crate) async fn a_live_failure_arrives_and_is_corrected() {
    let (rig, numbers) = with_failures().await;
    let test = "a_live_failure_arrives_and_is_corrected";
    let Some(browser) = browser(test, &rig).await else { return };
    browser.go("/experiments").await;
    browser.until(&format!("document.querySelectorAll('[data-row]').length === {}", numbers.len())).await;
    // nothing tells when the browser has begun to listen: what happened before that is not told, so it happens again
    let mut number = 0;
    for attempt in 1.. {
        let id = format!("fresh-{attempt}");
        number =
            failed(&rig, Some(&id), &["python", "late.py"], b"boom\n", diagnosis("CUDA out of memory")).await;
        let arrived = format!("document.querySelector('tr[data-number=\"{number}\"] a[data-modal]')");
        if browser.soon(&arrived).await {
            break;
        }
        assert!(attempt < 5, "no live row has come");
    }
    browser.click(&format!("tr[data-number='{number}'] a[data-modal]")).await;
    browser.click("dialog .judge summary").await;
    browser.value("document.querySelector('dialog select[name=category]').value = 'logic_error'").await;
    browser.click("dialog .judge .primary").await;
    browser.until("document.querySelector('main #verdict-title')?.innerText.includes('Logic error')").await;
    let told = browser.value("document.querySelector('main').innerText").await;
    assert!(told.as_str().unwrap().contains("A person"), "{told}");
    browser.click(".judge [name=helpful][value=true]").await;
    browser.until("document.querySelector('.judge').innerText.includes('Helpful · 1')").await;
    // and its group says so too
    browser.click(".facts a[href^='/groups/']").await;
    browser.until("document.querySelector('main').innerText.includes('Logic error')").await;
    // what the correction would change of those so far is looked at, and then done
    browser.click(".said a.button").await;
    browser.until("document.querySelector('#replayed')").await;
    browser.until("location.search.startsWith('?replay=')").await;
    let more = "document.querySelector('#replayed').closest('section').querySelector('form button')";
    if browser.value(&format!("!!{more}")).await == true {
        browser.click("section[aria-labelledby=replayed] form button").await;
        browser.until("!location.search").await;
    }
    browser.click(".said form button").await;
    browser.until("document.querySelector('.said').innerText.includes('no longer in force')").await;
    browser.until("document.querySelector('h1').closest('.head').innerText.includes('Resource error')").await;
    browser.click("[name=do][value=resolve]").await;
    browser.until("document.querySelector('main .chip')?.parentElement.innerText.includes('resolved')").await;
    browser.close().await;
    rig.end().await;
}

#[tokio::test]
pub(crate) async fn whoever_signs_in_comes_where_they_wanted() {
    let rig = Rig::with(Settings { auth: true, ..Settings::default() }).await;
    let password = coroner_server::hash_password("correct horse").unwrap();
    assert!(
        rig.store.add_user("ada", coroner_store::Role::Admin, &password, Timestamp::now()).await.unwrap()
    );
    let Some(browser) = browser("whoever_signs_in_comes_where_they_wanted", &rig).await else { return };
    browser.go("/experiments?severity=high").await;
    browser.until("location.pathname === '/login'").await;
    for (password, then) in [
        ("wrong", "location.search.includes('error=credentials')"),
        ("correct horse", "location.pathname + location.search === '/experiments?severity=high'"),
    ] {
        browser.find("[name=username]").await.send_keys("ada").await.unwrap();
        browser.find("[name=password]").await.send_keys(&format!("{password}\u{e007}")).await.unwrap();
        browser.until(then).await;
    }
    browser.click(".side > .foot form button").await;
    browser.until("location.pathname === '/login'").await;
    browser.close().await;
    rig.end().await;
}

#[tokio::test]
pub(crate) async fn what_is_wrong_in_a_form_is_said_where_it_was_typed() {
    let rig = Rig::open().await;
    let test = "what_is_wrong_in_a_form_is_said_where_it_was_typed";
    let Some(browser) = browser(test, &rig).await else { return };
    browser.go("/settings").await;
    browser.click("section[aria-labelledby=tokens] details.add summary").await;
    let name = "section[aria-labelledby=tokens] [name=name]";
    browser.find(name).await.send_keys("gpu/07\u{e007}").await.unwrap();
    browser.until("document.querySelector('section[aria-labelledby=tokens] [role=alert]')").await;
    // the bar says the page's address, the field has what was typed and the focus
    assert_eq!(browser.path().await, "/settings");
    browser.until(&format!("document.activeElement === document.querySelector('{name}')")).await;
    assert_eq!(browser.value(&format!("document.querySelector('{name}').value")).await, "gpu/07");
    browser.find(name).await.clear().await.unwrap();
    browser.find(name).await.send_keys("gpu-07\u{e007}").await.unwrap();
    browser.until("document.querySelector('#token')?.innerText.startsWith('coroner_')").await;
    browser.go("/settings").await;
    assert_eq!(browser.value("!!document.querySelector('#token')").await, false, "it is told once");
    browser.click("section[aria-labelledby=tokens] td form button").await;
    browser
        .until("document.querySelector('section[aria-labelledby=tokens]').innerText.includes('revoked')")
        .await;
    browser.close().await;
    rig.end().await;
}

/// Every page that can be looked at, of these experiments.
async fn pages(rig: &Rig, number: u64) -> Vec<String> {
    let signature = rig.store.numbered(number).await.unwrap().diagnosis.unwrap().signature;
    let mut pages: Vec<String> = [
        "/",
        "/experiments",
        "/experiments?q=nothing",
        "/groups",
        "/statistics",
        "/rules",
        "/rules?q=cuda",
        "/rules/cuda.out-of-memory",
        "/rules?state=off",
        "/settings",
        "/docs",
        "/nowhere",
    ]
    .map(String::from)
    .into();
    pages.push(format!("/experiments/{number}"));
    pages.push(format!("/experiments/{number}?find=e"));
    pages.push(format!("/experiments/{number}/analysis"));
    pages.push(format!("/groups/{signature}"));
    if let Some(correction) = rig.store.corrections(Some(&signature)).await.unwrap().first() {
        pages.push(format!("/groups/{signature}?replay={}&words=script", correction.id));
    }
    pages
}

#[tokio::test]
pub(crate) async fn markup_is_shown_and_never_run() {
    let rig = Rig::open().await;
    let mut found = diagnosis("CUDA out of memory");
    (found.root_cause, found.fix_suggestion) = (NASTY.into(), NASTY.into());
    found.evidence = vec![evidence(1, NASTY, Role::Cause)];
    let log = format!("{NASTY}\n\u{1b}[31m{NASTY}\n");
    let id: String = NASTY.chars().filter(|c| !c.is_control()).collect();
    let number = failed(&rig, Some(&id), &["sh", "-c", NASTY], log.as_bytes(), found).await;
    // and in whatever people fill in; where the desk takes no such name, the store is asked itself
    let store = &rig.store;
    let signature = store.numbered(number).await.unwrap().diagnosis.unwrap().signature;
    let ruling =
        coroner_store::Ruling { cause: Some(NASTY.into()), fix: Some(NASTY.into()), ..Default::default() };
    let now = Timestamp::now();
    store.correct(&signature, ruling, NASTY, now, None).await.unwrap();
    store.decide(&signature, coroner_store::Decision::Assign(Some(NASTY.into())), NASTY, now).await.unwrap();
    store.decide(&signature, coroner_store::Decision::Mute(None), NASTY, now).await.unwrap();
    store.silence("cuda.out-of-memory", Some(NASTY), now).await.unwrap();
    store.add_user(NASTY, coroner_store::Role::Viewer, "x", now).await.unwrap();
    let scope = coroner_store::TokenScope::Read;
    store.add_token(NASTY, scope, [7; 32], NASTY, now).await.unwrap();
    let code = format!("print(1)\n{NASTY}\n");
    let reported =
        json!({"experiment_id": "code", "experiment_type": NASTY, "error_message": NASTY, "code": code});
    let reported = rig.post("/api/v1/failures", &reported).await.json()["number"].as_u64().unwrap();
    let started = json!({"experiment_id": "run", "command": NASTY, "cwd": NASTY, "host": NASTY});
    let running = rig.post("/api/v1/experiments", &started).await.json()["number"].as_u64().unwrap();
    let Some(browser) = browser("markup_is_shown_and_never_run", &rig).await else { return };
    let mut all = pages(&rig, number).await;
    all.extend([reported, running].map(|number| format!("/experiments/{number}")));
    for path in all {
        browser.go(&path).await;
        assert!(!browser.is_alerted().await, "{path}");
        let strange =
            "document.querySelectorAll('img:not([alt=\"\"]), main script, [onerror], [onclick]').length";
        assert_eq!(browser.value(strange).await, 0, "{path}");
        if browser.value("!!document.querySelector('a[data-modal]')").await == true {
            browser.click("a[data-modal]").await;
            browser.until("document.querySelector('dialog[open] .told')").await;
            assert!(!browser.is_alerted().await, "{path}");
            assert_eq!(browser.value(strange).await, 0, "{path}");
        }
    }
    browser.close().await;
    rig.end().await;
}

#[tokio::test]
async fn nothing_overflows_and_nobody_is_shut_out() {
    let (rig, numbers) = with_failures().await;
    let test = "nothing_overflows_and_nobody_is_shut_out";
    let Some(browser) = browser(test, &rig).await else { return };
    let axe = std::fs::read_to_string(axe());
    if axe.is_err() {
        println!("skipped: {test}: axe-core is not installed; scripts/test fetches it from npm");
    }
    // something in every form
    let now = Timestamp::now();
    let signature = rig.store.numbered(numbers[1]).await.unwrap().diagnosis.unwrap().signature;
    let ruling = coroner_store::Ruling { cause: Some("a person's word".into()), ..Default::default() };
    rig.store.correct(&signature, ruling, "ada", now, None).await.unwrap();
    rig.store.add_user("ada", coroner_store::Role::Admin, "x", now).await.unwrap();
    rig.store.add_token("ci", coroner_store::TokenScope::Report, [7; 32], "ada", now).await.unwrap();
    rig.store.silence("cuda.out-of-memory", Some("ada"), now).await.unwrap();
    let open = "document.querySelectorAll('details:not(.menu)').forEach((it) => { it.open = true })";
    for path in pages(&rig, numbers[1]).await {
        for (width, theme) in [(1440, "light"), (390, "dark"), (1440, "dark"), (390, "light")] {
            browser.face(width, 900, theme).await;
            browser.go(&path).await;
            browser.value(open).await;
            let beyond = "document.documentElement.scrollWidth - document.documentElement.clientWidth";
            assert_eq!(browser.value(beyond).await, 0, "{path} is wider than {width} px");
            let Ok(axe) = &axe else { continue };
            let modal =
                width == 1440 && browser.value("!!document.querySelector('a[data-modal]')").await == true;
            if modal {
                browser.click("a[data-modal]").await;
                browser.until("document.querySelector('dialog[open] .told')").await;
                browser.until("document.querySelector('dialog').getAnimations().length === 0").await;
            }
            let script = format!(
                "{axe}; const done = arguments[arguments.length - 1]; axe.run().then((r) => done(r.violations.map((v) => v.id + ': ' + v.help + ' ' + v.nodes.map((n) => n.html + ' ' + n.failureSummary).join(' | '))));"
            );
            let violations = browser.client.execute_async(&script, vec![]).await.unwrap();
            assert_eq!(
                violations.as_array().map(Vec::len),
                Some(0),
                "{path} {width} {theme}: {violations:#}"
            );
        }
    }
    browser.close().await;
    rig.end().await;
}
