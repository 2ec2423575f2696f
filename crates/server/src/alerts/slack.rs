//! A message for Slack and for what takes its webhooks (Mattermost, Rocket.Chat, Discord's `/slack`).
//!
//! Slack shows the blocks, whose text is plain: nothing in it is markup, a link or a mention. The others show `text`,
//! where all that came from outside stands between backticks: there nothing is markup either.

use serde_json::{Value, json};

use super::notice::one_line;
use super::outgoing::Outgoing;

/// What Slack takes of a header and of a section, in characters.
const HEADER: usize = 140;
const SECTION: usize = 2800;

pub(super) fn body(message: &Outgoing<'_>) -> Value {
    let it = message.notice;
    let mut sections = vec![it.what(), it.whose()];
    if !it.latest.fix.is_empty() {
        sections.push(format!("Fix: {}", one_line(&it.latest.fix)));
    }
    if it.cause_count > 1 {
        let causes = it.causes.iter().map(|cause| format!("{} × {}", cause.count, one_line(&cause.cause)));
        sections.push(format!("{} causes:\n{}", it.cause_count, causes.collect::<Vec<_>>().join("\n")));
    }
    if !it.latest.evidence.is_empty() {
        let lines = it.latest.evidence.iter();
        let lines = lines.map(|line| format!("{} {}: {}", line.source, line.line, one_line(&line.text)));
        sections.push(lines.collect::<Vec<_>>().join("\n"));
    }
    sections.retain(|text| !text.is_empty());
    let plain = |text: &str, limit| json!({"type": "plain_text", "emoji": false, "text": shortened(&escaped(text), limit)});
    let mut blocks = vec![json!({"type": "header", "text": plain(&it.subject(), HEADER)})];
    blocks.extend(sections.iter().map(|text| json!({"type": "section", "text": plain(text, SECTION)})));

    let mut text = vec![code(&it.subject())];
    text.extend(sections.iter().flat_map(|section| section.lines().map(code).collect::<Vec<_>>()));
    let links = it.links(message.desk).into_iter();
    let mut links: Vec<String> = links.map(|(name, url)| format!("<{}|{name}>", escaped(&url))).collect();
    links.extend(it.command().map(|command| code(&command)));
    if !links.is_empty() {
        let links = links.join(" · ");
        blocks.push(json!({"type": "section", "text": {"type": "mrkdwn", "text": links}}));
        text.push(links);
    }
    json!({"text": text.join("\n"), "blocks": blocks, "unfurl_links": false, "unfurl_media": false})
}

/// What Slack asks everybody to escape: without it `<!channel>` would call everybody.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn code(text: &str) -> String {
    format!("`{}`", escaped(&one_line(text)).replace('`', "'"))
}

/// Never in the middle of what stands for a character.
fn shortened(text: &str, limit: usize) -> String {
    let Some((end, _)) = text.char_indices().nth(limit) else { return text.to_owned() };
    let kept = &text[..end];
    let whole = match kept.rfind('&') {
        Some(start) if !kept[start..].contains(';') => &kept[..start],
        _ => kept,
    };
    format!("{whole}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_markup() {
        assert_eq!(
            code("a `b` <!channel> & [x](http://e)\nc"),
            "`a 'b' &lt;!channel&gt; &amp; [x](http://e) c`"
        );
        assert_eq!(shortened("a&amp;b", 3), "a…");
        assert_eq!(shortened("a&amp;b", 6), "a&amp;…");
        assert_eq!(shortened("ab", 2), "ab");
    }
}
