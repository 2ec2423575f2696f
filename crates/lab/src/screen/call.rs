//! Calls: imports by name, attributes whose names stand in strings, and what rules say of functions and arguments.

use ruff_python_ast::{Expr, ExprCall};
use ruff_text_size::Ranged;

use super::policy::{Call, Condition};
use super::walk::{Refused, Walker};

impl<'a> Walker<'_, 'a> {
    pub(super) fn call(&mut self, expr: &'a Expr, call: &'a ExprCall) {
        let Some(function) = self.scopes.path(&call.func) else {
            return self.format(call);
        };
        let text = |this: &Self, i: usize| call.arguments.args.get(i).and_then(|arg| this.scopes.text(arg));
        match function.as_str() {
            "builtins.__import__" | "importlib.import_module" | "importlib.__import__" => {
                if let Some(module) = text(self, 0) {
                    self.module(&module, "Forbidden import", call.range());
                }
            }
            "builtins.getattr"
            | "builtins.setattr"
            | "builtins.delattr"
            | "builtins.object.__getattribute__" => {
                if let Some(name) = text(self, 1) {
                    self.found_by_text(call.arguments.args.first(), &name, call);
                }
            }
            "operator.attrgetter" => {
                for argument in &call.arguments.args {
                    for name in self.scopes.text(argument).iter().flat_map(|names| names.split('.')) {
                        self.attribute(None, name, true, call.range());
                    }
                }
            }
            // what a dictionary of names or a chain of getters gives
            _ => {
                if let Some(path) = self.scopes.path(expr) {
                    self.path(&path, call.range());
                }
            }
        }
        self.refused_call(&function, call);
        self.format(call);
    }

    fn refused_call(&mut self, function: &str, call: &'a ExprCall) {
        let policy = self.policy;
        for rule in &policy.rules {
            for refused in rule.calls.iter().filter(|refused| refused.path() == function) {
                let message = match refused {
                    Call::Always(path) => format!("Forbidden call: {path}"),
                    Call::If(condition) => match self.met(condition, call) {
                        Some(how) => format!("Forbidden call: {function}{how}"),
                        None => continue,
                    },
                };
                self.by_rule(rule, message, function, None, call.range());
            }
        }
    }

    /// How a call meets the condition of a rule, if it does: "(allow_pickle=True)".
    fn met(&self, condition: &Condition, call: &'a ExprCall) -> Option<String> {
        let arguments = &call.arguments;
        let argument = &condition.argument;
        let named = arguments.find_keyword(argument).map(|keyword| &keyword.value);
        let given = named.or_else(|| condition.position.and_then(|i| arguments.args.get(i)));
        let constant = match given {
            Some(Expr::BooleanLiteral(literal)) => Some(literal.value),
            _ => None,
        };
        match (condition.when, condition.unless) {
            (_, Some(wanted)) => {
                (constant != Some(wanted)).then(|| format!(" without {argument}={}", python_bool(wanted)))
            }
            (Some(wanted), _) => (given.is_some() && constant != Some(!wanted))
                .then(|| format!(" with {argument}={}", python_bool(wanted))),
            (None, None) => None,
        }
    }

    /// An attribute whose name stands in a string.
    fn found_by_text(&mut self, object: Option<&'a Expr>, name: &str, call: &'a ExprCall) {
        let base = object.and_then(|object| self.scopes.path(object));
        if !self.attribute(base.as_deref(), name, true, call.range())
            && let Some(base) = base
        {
            self.path(&format!("{base}.{name}"), call.range());
        }
    }

    /// `"{0.__class__}".format(x)` reads attributes too.
    fn format(&mut self, call: &'a ExprCall) {
        let Expr::Attribute(attribute) = &*call.func else { return };
        if !matches!(attribute.attr.as_str(), "format" | "format_map") {
            return;
        }
        let Some(text) = self.scopes.text(&attribute.value) else { return };
        for name in attributes_of_format(&text) {
            if !self.attribute(None, name, false, call.range()) && name.starts_with("__") {
                let note = Refused {
                    rule: "format-attribute",
                    why: "A format string that reads inner attributes shows more of an object than its text.",
                    instead: "Give the value itself to format().",
                    message: format!("Attribute read by a format string: {name}"),
                    what: name.to_owned(),
                    suspect: None,
                };
                let note = self.finding(note, call.range());
                self.notes.push(note);
            }
        }
    }
}

fn python_bool(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

/// The attributes that a format string reads: `__class__` and `__name__` of "{0.__class__.__name__!r:>10}".
fn attributes_of_format(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        rest = &rest[open + 1..];
        if let Some(after) = rest.strip_prefix('{') {
            rest = after;
            continue;
        }
        let end = rest.find(['}', '!', ':', '{']).unwrap_or(rest.len());
        found.extend(rest[..end].split(['.', '[', ']']).skip(1).filter(|name| !name.is_empty()));
        rest = &rest[end..];
    }
    found
}
