//! A program as the search sees it: the places where its text can be changed while the rest of the file stays as it is.

use std::collections::BTreeSet;
use std::ops::Range;

use ruff_python_ast::visitor::source_order::{self, SourceOrderVisitor};
use ruff_python_ast::{Expr, ExprContext, Stmt};
use ruff_python_parser::parse_module;
use ruff_text_size::{Ranged, TextRange};

use super::walk::Walk;

/// Bytes of the source.
pub(super) type Span = Range<usize>;

/// What a program is made of.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) text: String,
    pub(super) numbers: Vec<Numeral>,
    pub(super) operators: Vec<Operator>,
    pub(super) expressions: Vec<Expression>,
    pub(super) statements: Vec<Statement>,
    pub(super) functions: Vec<Function>,
    /// Names that the module itself binds, with the text that does it.
    pub(super) bindings: Vec<Binding>,
    /// Where a definition may be put in.
    pub(super) before_code: usize,
}

/// A number that is written out.
#[derive(Debug)]
pub(super) struct Numeral {
    pub(super) at: Span,
    pub(super) function: String,
    /// What it is given to: a variable, a parameter, a keyword; empty if that can't be told.
    pub(super) name: String,
    pub(super) value: f64,
    pub(super) whole: bool,
}

/// An operator between two values.
#[derive(Debug)]
pub(super) struct Operator {
    pub(super) at: Span,
    pub(super) function: String,
    pub(super) text: String,
}

/// A value.
#[derive(Debug)]
pub(super) struct Expression {
    pub(super) at: Span,
    pub(super) function: String,
    pub(super) kind: Kind,
    /// It stands inside another one, so that what takes its place needs brackets.
    pub(super) nested: bool,
    pub(super) loads: BTreeSet<String>,
}

/// What an expression is may only be replaced by its like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Binary,
    Comparison,
    Logic,
    Choice,
    Call,
    Item,
    Member,
    Name,
    Sequence,
    Comprehension,
}

/// A statement that has its lines to itself.
#[derive(Debug)]
pub(super) struct Statement {
    /// Without the indentation before it and the line's end after it.
    pub(super) at: Span,
    pub(super) function: String,
    pub(super) indent: String,
    /// The statements that stand in a row with it have the same number.
    pub(super) suite: usize,
    /// It is all that its block has.
    pub(super) alone: bool,
    pub(super) returns: bool,
}

/// A function of the module itself.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) name: String,
    pub(super) at: Span,
    pub(super) parameters: Vec<Parameter>,
    pub(super) loads: BTreeSet<String>,
    /// Its parameters and what it assigns.
    pub(super) names: BTreeSet<String>,
}

/// A parameter of a function.
#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) name: String,
    pub(super) optional: bool,
}

/// A statement of the module that binds names: an import, an assignment, a definition.
#[derive(Debug)]
pub(super) struct Binding {
    pub(super) names: BTreeSet<String>,
    pub(super) at: Span,
    pub(super) loads: BTreeSet<String>,
    pub(super) import: bool,
}

impl Program {
    /// `None` if it is no Python.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let parsed = parse_module(text).ok()?;
        let module = parsed.syntax();
        let mut program = Self {
            text: text.to_owned(),
            numbers: Vec::new(),
            operators: Vec::new(),
            expressions: Vec::new(),
            statements: Vec::new(),
            functions: Vec::new(),
            bindings: Vec::new(),
            before_code: text.len(),
        };
        let mut preamble = true;
        for (place, stmt) in module.body.iter().enumerate() {
            program.bind(stmt);
            let future = matches!(stmt, Stmt::ImportFrom(from) if from.module.as_ref().is_some_and(|m| m.as_str() == "__future__"));
            if preamble && !future && !(place == 0 && is_text(stmt)) {
                program.before_code = line_start(text, stmt.range().start().to_usize());
                preamble = false;
            }
        }
        Some(Walk::over(program, parsed.tokens(), module))
    }

    /// 1-based.
    pub(super) fn line(&self, offset: usize) -> usize {
        line_of(&self.text, offset)
    }

    pub(super) fn function(&self, name: &str) -> Option<&Function> {
        self.functions.iter().find(|f| f.name == name)
    }

    /// Does the module bind this name?
    pub(super) fn binds(&self, name: &str) -> bool {
        self.bindings.iter().any(|b| b.names.contains(name))
    }

    fn bind(&mut self, stmt: &Stmt) {
        let mut names = BTreeSet::new();
        let mut import = false;
        match stmt {
            Stmt::Import(it) => {
                import = true;
                for alias in &it.names {
                    let bound = alias.asname.as_ref().unwrap_or(&alias.name).as_str();
                    names.insert(bound.split('.').next().unwrap_or(bound).to_owned());
                }
            }
            Stmt::ImportFrom(it) => {
                import = true;
                names.extend(
                    it.names.iter().map(|alias| alias.asname.as_ref().unwrap_or(&alias.name).to_string()),
                );
            }
            Stmt::FunctionDef(it) => {
                names.insert(it.name.to_string());
                let mut inner = Names::default();
                source_order::walk_stmt(&mut inner, stmt);
                let parameters: Vec<Parameter> = it
                    .parameters
                    .iter_non_variadic_params()
                    .map(|p| Parameter { name: p.name().to_string(), optional: p.default().is_some() })
                    .collect();
                inner.stored.extend(parameters.iter().map(|p| p.name.clone()));
                self.functions.push(Function {
                    name: it.name.to_string(),
                    at: span(stmt.range()),
                    parameters,
                    loads: inner.loaded,
                    names: inner.stored,
                });
            }
            Stmt::ClassDef(it) => {
                names.insert(it.name.to_string());
            }
            Stmt::Assign(_) | Stmt::AnnAssign(_) => {
                let mut inner = Names::default();
                source_order::walk_stmt(&mut inner, stmt);
                names = inner.stored;
            }
            _ => {}
        }
        if !names.is_empty() {
            let mut inner = Names::default();
            source_order::walk_stmt(&mut inner, stmt);
            self.bindings.push(Binding { names, at: span(stmt.range()), loads: inner.loaded, import });
        }
    }
}

/// 1-based.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1
}

pub(super) fn line_start(text: &str, offset: usize) -> usize {
    text[..offset].rfind('\n').map_or(0, |at| at + 1)
}

pub(super) fn span(range: TextRange) -> Span {
    range.start().to_usize()..range.end().to_usize()
}

/// A docstring, or another text that is no more than a remark.
pub(super) fn is_text(stmt: &Stmt) -> bool {
    matches!(stmt, Stmt::Expr(it) if it.value.is_string_literal_expr())
}

/// Names that are read and written somewhere below.
#[derive(Default)]
struct Names {
    loaded: BTreeSet<String>,
    stored: BTreeSet<String>,
}

impl<'a> SourceOrderVisitor<'a> for Names {
    fn visit_expr(&mut self, expr: &'a Expr) {
        if let Expr::Name(name) = expr {
            match name.ctx {
                ExprContext::Store => self.stored.insert(name.id.to_string()),
                _ => self.loaded.insert(name.id.to_string()),
            };
        }
        source_order::walk_expr(self, expr);
    }
}

pub(super) fn loads_of(expr: &Expr) -> BTreeSet<String> {
    let mut names = Names::default();
    names.visit_expr(expr);
    names.loaded
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "\
\"\"\"Doc with 3 numbers.\"\"\"
from __future__ import annotations
import math

STEP = -0.5  # half

def helper(x: int = 3, *, scale=1.5):
    '''also 4'''
    if x > 2 and x < 10:
        x += 1
    return (x + STEP) * scale

def main(data):
    total = 0
    for i, v in enumerate(data):
        total = total + helper(v, scale=2.0)
        if i: continue
    return f\"{total + 7}\" if total is not None else [1, 2]
";

    #[test]
    fn the_places_of_a_program_are_found() {
        let p = Program::parse(SOURCE).unwrap();
        let numbers: Vec<_> =
            p.numbers.iter().map(|n| (n.function.as_str(), n.name.as_str(), n.value, n.whole)).collect();
        assert_eq!(
            numbers,
            [
                ("", "STEP", -0.5, false),
                ("helper", "x", 3.0, true),
                ("helper", "scale", 1.5, false),
                ("helper", "", 2.0, true),
                ("helper", "", 10.0, true),
                ("helper", "x", 1.0, true),
                ("main", "total", 0.0, true),
                ("main", "scale", 2.0, false),
                ("main", "", 1.0, true),
                ("main", "", 2.0, true),
            ]
        );
        let operators: Vec<_> = p.operators.iter().map(|o| o.text.as_str()).collect();
        assert_eq!(operators, ["and", ">", "<", "+=", "*", "+", "+"]);
        let statements: Vec<_> = p.statements.iter().map(|s| &SOURCE[s.at.clone()]).collect();
        assert_eq!(statements.len(), 9, "{statements:#?}");
        assert!(statements.iter().all(|s| !s.starts_with("continue")), "shares its line");
        assert_eq!(SOURCE[p.before_code..].lines().next(), Some("import math"));
        assert_eq!(p.functions.len(), 2);
        assert!(p.function("main").unwrap().loads.contains("helper"));
        assert!(p.binds("math") && p.binds("STEP") && p.binds("helper") && !p.binds("total"));
        let kinds = |kind| p.expressions.iter().filter(|e| e.kind == kind).count();
        assert_eq!((kinds(Kind::Call), kinds(Kind::Choice), kinds(Kind::Logic)), (2, 1, 1));
        assert!(Program::parse("def f(:\n").is_none());
    }
}
