//! What an expression means, as far as that can be seen: the module or built-in that it names, through aliases,
//! constant strings, `getattr` and the dictionaries of modules.

use ruff_python_ast::{Expr, ExprCall, FStringPart, InterpolatedStringElement, Number, Operator, UnaryOp};
use ruff_text_size::Ranged;

use super::builtins::is_builtin;
use super::scope::{Bound, Kind, Scope};

/// Names lead to names, so far and no further.
const STEPS: usize = 64;
/// A longer string is no name.
const LONGEST_TEXT: usize = 1000;

/// What an expression is known to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// A module, or something that a module holds: `os`, `numpy.load`, `builtins.eval`.
    Path(String),
    /// A string.
    Text(String),
}

impl Value {
    pub(super) fn path(self) -> Option<String> {
        match self {
            Self::Path(path) => Some(path),
            Self::Text(_) => None,
        }
    }

    fn text(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            Self::Path(_) => None,
        }
    }
}

/// The scopes around a place, the module's first.
#[derive(Debug, Default)]
pub(super) struct Scopes<'a> {
    pub(super) stack: Vec<Scope<'a>>,
}

/// Where a name was found.
#[derive(Debug)]
pub(super) enum Found<'s, 'a> {
    /// In the scope of that index, bound to one of these.
    Bound(usize, &'s [(usize, Bound<'a>)]),
    /// Nowhere: a built-in, or a name that does not exist.
    Free,
}

impl<'a> Scopes<'a> {
    /// Looks a name up that stands at byte `at`, from the scope of index `from` outwards.
    pub(super) fn find(&self, name: &str, at: usize, from: usize) -> Found<'_, 'a> {
        let mut i = from;
        loop {
            let Some(scope) = self.stack.get(i) else { return Found::Free };
            let is_global = scope.is_global(name);
            if is_global {
                i = 0;
            }
            let scope = if is_global { &self.stack[0] } else { scope };
            // a class's names are not seen from the functions inside it
            let visible = i == from || scope.kind != Kind::Class;
            let bound = scope.get(name);
            if visible && !bound.is_empty() {
                // what runs line by line has a built-in until the line that takes its name
                let in_order = i == from && matches!(scope.kind, Kind::Module | Kind::Class) && !is_global;
                let first = bound.iter().map(|(at, _)| *at).min().unwrap_or(0);
                if !(in_order && at < first && is_builtin(name)) {
                    return Found::Bound(i, bound);
                }
            }
            if i == 0 {
                return Found::Free;
            }
            i -= 1;
        }
    }

    /// What an expression at the innermost scope is.
    pub(super) fn value(&self, expr: &'a Expr) -> Option<Value> {
        let mut steps = STEPS;
        self.resolve(expr, self.stack.len().checked_sub(1)?, &mut steps)
    }

    pub(super) fn path(&self, expr: &'a Expr) -> Option<String> {
        self.value(expr)?.path()
    }

    pub(super) fn text(&self, expr: &'a Expr) -> Option<String> {
        self.value(expr)?.text()
    }

    fn resolve(&self, expr: &'a Expr, from: usize, steps: &mut usize) -> Option<Value> {
        *steps = steps.checked_sub(1)?;
        match expr {
            Expr::Name(name) => self.name(name.id.as_str(), name.start().to_usize(), from, steps),
            Expr::Attribute(attribute) => {
                let base = self.resolve(&attribute.value, from, steps)?.path()?;
                Some(member(&base, attribute.attr.as_str()))
            }
            Expr::Subscript(subscript) => {
                if let Some(reversed) = self.reversed(&subscript.value, &subscript.slice, from, steps) {
                    return Some(Value::Text(reversed));
                }
                let base = self.resolve(&subscript.value, from, steps)?.path()?;
                let key = self.resolve(&subscript.slice, from, steps)?.text()?;
                self.entry(&base, &key, from, steps)
            }
            Expr::Call(call) => self.call(call, from, steps),
            Expr::StringLiteral(literal) => short(literal.value.to_str().to_owned()),
            Expr::BinOp(op) if op.op == Operator::Add => {
                let left = self.resolve(&op.left, from, steps)?.text()?;
                let right = self.resolve(&op.right, from, steps)?.text()?;
                short(left + &right)
            }
            Expr::FString(formatted) => self.formatted(formatted, from, steps),
            Expr::Named(named) => self.resolve(&named.value, from, steps),
            Expr::If(either) => {
                let (a, b) = (&either.body, &either.orelse);
                self.resolve(a, from, steps).or_else(|| self.resolve(b, from, steps))
            }
            Expr::BoolOp(op) => op.values.iter().find_map(|value| self.resolve(value, from, steps)),
            _ => None,
        }
    }

    fn name(&self, name: &str, at: usize, from: usize, steps: &mut usize) -> Option<Value> {
        let (index, bound) = match self.find(name, at, from) {
            Found::Bound(index, bound) => (index, bound),
            Found::Free => return Some(Value::Path(self.free(name))),
        };
        let mut texts = None;
        for (_, to) in bound {
            let value = match to {
                Bound::Module(module) => Some(Value::Path((*module).to_owned())),
                Bound::Member(module, name) => Some(member(module, name)),
                Bound::Value(value) => self.resolve(value, index, steps),
                Bound::Own => None,
            };
            match value {
                Some(Value::Path(path)) => return Some(Value::Path(path)),
                // a string that is bound twice may be either
                Some(text) if bound.len() == 1 => texts = Some(text),
                _ => {}
            }
        }
        texts
    }

    /// A name that nothing here binds: a built-in, or what a star import brought.
    fn free(&self, name: &str) -> String {
        match name {
            "__builtins__" | "__builtin__" => "builtins".to_owned(),
            _ if is_builtin(name) => format!("builtins.{name}"),
            _ => match self.stack.iter().flat_map(|scope| &scope.starred).next_back() {
                Some(module) => format!("{module}.{name}"),
                None => format!("builtins.{name}"),
            },
        }
    }

    /// `base[key]`, or `base.get(key)`.
    fn entry(&self, base: &str, key: &str, from: usize, steps: &mut usize) -> Option<Value> {
        match base {
            "sys.modules" => Some(Value::Path(key.to_owned())),
            // in the main program it is the module, elsewhere its dictionary
            "builtins" => Some(Value::Path(format!("builtins.{key}"))),
            "globals()" => self.name(key, usize::MAX, 0, steps),
            "locals()" => self.name(key, usize::MAX, from, steps),
            _ => base.strip_suffix(".__dict__").map(|of| member(of, key)),
        }
    }

    fn call(&self, call: &'a ExprCall, from: usize, steps: &mut usize) -> Option<Value> {
        let arguments = &call.arguments;
        let nth = |i: usize| arguments.args.get(i);
        // methods of what is no module: strings, dictionaries
        if let Expr::Attribute(attribute) = &*call.func {
            let method = attribute.attr.as_str();
            match (self.resolve(&attribute.value, from, steps), method) {
                (Some(Value::Text(text)), _) => return self.text_method(&text, method, call, from, steps),
                (Some(Value::Path(base)), "get" | "pop" | "setdefault" | "__getitem__") => {
                    let key = self.resolve(nth(0)?, from, steps)?.text()?;
                    return self.entry(&base, &key, from, steps);
                }
                (Some(Value::Path(base)), "__getattribute__" | "__getattr__")
                    if base != "builtins.object" =>
                {
                    let name = self.resolve(nth(0)?, from, steps)?.text()?;
                    return Some(member(&base, &name));
                }
                _ => {}
            }
        }
        let function = self.resolve(&call.func, from, steps)?.path()?;
        match function.as_str() {
            "builtins.getattr" | "builtins.object.__getattribute__" | "inspect.getattr_static" => {
                let base = self.resolve(nth(0)?, from, steps)?.path()?;
                let name = self.resolve(nth(1)?, from, steps)?.text()?;
                Some(member(&base, &name))
            }
            "builtins.__import__" | "importlib.import_module" | "importlib.__import__" => {
                let module = self.resolve(nth(0)?, from, steps)?.text()?;
                let whole = function == "importlib.import_module";
                let name = if whole { module.as_str() } else { module.split('.').next().unwrap_or(&module) };
                Some(Value::Path(name.to_owned()))
            }
            "builtins.vars" => {
                let Some(of) = nth(0) else { return Some(Value::Path("locals()".to_owned())) };
                Some(Value::Path(format!("{}.__dict__", self.resolve(of, from, steps)?.path()?)))
            }
            "builtins.globals" => Some(Value::Path("globals()".to_owned())),
            "builtins.locals" => Some(Value::Path("locals()".to_owned())),
            "builtins.str" | "sys.intern" => self.resolve(nth(0)?, from, steps)?.text().map(Value::Text),
            "builtins.chr" => {
                let code = u32::try_from(small(nth(0)?)?).ok()?;
                char::from_u32(code).map(|c| Value::Text(c.to_string()))
            }
            _ => None,
        }
    }

    fn text_method(
        &self,
        text: &str,
        method: &str,
        call: &'a ExprCall,
        from: usize,
        steps: &mut usize,
    ) -> Option<Value> {
        let arguments = &call.arguments.args;
        match method {
            "lower" | "casefold" => short(text.to_lowercase()),
            "upper" => short(text.to_uppercase()),
            "strip" if arguments.is_empty() => short(text.trim().to_owned()),
            "replace" => {
                let old = self.resolve(arguments.first()?, from, steps)?.text()?;
                let new = self.resolve(arguments.get(1)?, from, steps)?.text()?;
                if text.len().saturating_mul(new.len().max(1)) > LONGEST_TEXT * 10 {
                    return None;
                }
                short(text.replace(&old, &new))
            }
            "join" => {
                let items = match arguments.first()? {
                    Expr::List(list) => &list.elts,
                    Expr::Tuple(tuple) => &tuple.elts,
                    other => {
                        let word = self.resolve(other, from, steps)?.text()?;
                        let letters: Vec<String> = word.chars().map(String::from).collect();
                        return short(letters.join(text));
                    }
                };
                let mut joined = String::new();
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        joined.push_str(text);
                    }
                    joined.push_str(&self.resolve(item, from, steps)?.text()?);
                    if joined.len() > LONGEST_TEXT {
                        return None;
                    }
                }
                short(joined)
            }
            _ => None,
        }
    }

    /// `"lave"[::-1]`
    fn reversed(&self, value: &'a Expr, slice: &'a Expr, from: usize, steps: &mut usize) -> Option<String> {
        let Expr::Slice(slice) = slice else { return None };
        if slice.lower.is_some() || slice.upper.is_some() || small(slice.step.as_deref()?)? != -1 {
            return None;
        }
        let text = self.resolve(value, from, steps)?.text()?;
        Some(text.chars().rev().collect())
    }

    fn formatted(
        &self,
        formatted: &'a ruff_python_ast::ExprFString,
        from: usize,
        steps: &mut usize,
    ) -> Option<Value> {
        let mut text = String::new();
        for part in formatted.value.iter() {
            match part {
                FStringPart::Literal(literal) => text.push_str(literal),
                FStringPart::FString(string) => {
                    for element in &string.elements {
                        match element {
                            InterpolatedStringElement::Literal(literal) => text.push_str(&literal.value),
                            InterpolatedStringElement::Interpolation(inner)
                                if inner.format_spec.is_none() =>
                            {
                                text.push_str(&self.resolve(&inner.expression, from, steps)?.text()?);
                            }
                            InterpolatedStringElement::Interpolation(_) => return None,
                        }
                    }
                }
            }
            if text.len() > LONGEST_TEXT {
                return None;
            }
        }
        short(text)
    }
}

/// A small whole number, with its sign.
fn small(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::NumberLiteral(literal) => match &literal.value {
            Number::Int(int) => int.as_i64(),
            _ => None,
        },
        Expr::UnaryOp(op) if op.op == UnaryOp::USub => match &*op.operand {
            Expr::NumberLiteral(_) => small(&op.operand).and_then(i64::checked_neg),
            _ => None,
        },
        _ => None,
    }
}

fn short(text: String) -> Option<Value> {
    (text.len() <= LONGEST_TEXT).then_some(Value::Text(text))
}

/// What `base.name` is. Functions of the built-ins know their module (`print.__self__`), and every function its globals.
fn member(base: &str, name: &str) -> Value {
    let path = match name {
        "__self__" if base.starts_with("builtins.") => "builtins".to_owned(),
        "__builtins__" => "builtins".to_owned(),
        _ if base.len() > LONGEST_TEXT => base.to_owned(),
        _ => format!("{base}.{name}"),
    };
    Value::Path(path)
}
