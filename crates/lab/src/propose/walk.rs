//! Goes through a module and notes the places where it can be changed.

use ruff_python_ast::token::{TokenKind, Tokens};
use ruff_python_ast::visitor::source_order::{self, SourceOrderVisitor};
use ruff_python_ast::{self as ast, Expr, Number, Stmt, UnaryOp};
use ruff_text_size::{Ranged, TextRange, TextSize};

use super::program::{
    Expression, Kind, Numeral, Operator, Program, Statement, is_text, line_start, loads_of, span,
};

pub(super) struct Walk<'a> {
    text: String,
    tokens: &'a Tokens,
    program: Program,
    function: String,
    suites: usize,
    /// How many expressions we are in.
    inside: usize,
    /// What the value that is being looked at goes to.
    given_to: String,
}

impl Walk<'_> {
    /// The program with all its places.
    pub(super) fn over(program: Program, tokens: &Tokens, module: &ast::ModModule) -> Program {
        let mut walk = Walk {
            text: program.text.clone(),
            tokens,
            program,
            function: String::new(),
            suites: 0,
            inside: 0,
            given_to: String::new(),
        };
        walk.visit_body(&module.body);
        walk.program
    }

    fn statement(&mut self, stmt: &Stmt, suite: usize, alone: bool) {
        if is_text(stmt)
            || matches!(
                stmt,
                Stmt::FunctionDef(_)
                    | Stmt::ClassDef(_)
                    | Stmt::Import(_)
                    | Stmt::ImportFrom(_)
                    | Stmt::Pass(_)
            )
        {
            return;
        }
        let at = span(stmt.range());
        let indent = &self.text[line_start(&self.text, at.start)..at.start];
        let rest = self.text[at.end..].split('\n').next().unwrap_or("").trim();
        if !indent.chars().all(|c| c == ' ' || c == '\t') || !(rest.is_empty() || rest.starts_with('#')) {
            return;
        }
        self.program.statements.push(Statement {
            at,
            function: self.function.clone(),
            indent: indent.to_owned(),
            suite,
            alone,
            returns: stmt.is_return_stmt(),
        });
    }

    fn number(&mut self, range: TextRange, value: &Number, negative: bool) {
        let (value, whole) = match value {
            Number::Int(int) => match int.as_i64() {
                Some(int) => (int as f64, true),
                None => return,
            },
            Number::Float(float) => (*float, false),
            Number::Complex { .. } => return,
        };
        self.program.numbers.push(Numeral {
            at: span(range),
            function: self.function.clone(),
            name: self.given_to.clone(),
            value: if negative { -value } else { value },
            whole,
        });
    }

    /// The operator that stands after this place.
    fn operator(&mut self, after: TextSize, before: TextSize) {
        let found = self.tokens.after(after).iter().take_while(|t| t.start() < before).find(|token| {
            !matches!(
                token.kind(),
                TokenKind::Rpar | TokenKind::Lpar | TokenKind::Comment | TokenKind::NonLogicalNewline
            )
        });
        let Some(token) = found else { return };
        let at = span(token.range());
        let text = self.text[at.clone()].to_owned();
        self.program.operators.push(Operator { at, function: self.function.clone(), text });
    }

    fn expression(&mut self, expr: &Expr) {
        let kind = match expr {
            Expr::BinOp(_) => Kind::Binary,
            Expr::Compare(_) => Kind::Comparison,
            Expr::BoolOp(_) => Kind::Logic,
            Expr::If(_) => Kind::Choice,
            Expr::Call(_) => Kind::Call,
            Expr::Subscript(it) if it.ctx.is_load() => Kind::Item,
            Expr::Attribute(it) if it.ctx.is_load() => Kind::Member,
            Expr::Name(it) if it.ctx.is_load() => Kind::Name,
            Expr::List(it) if it.ctx.is_load() => Kind::Sequence,
            Expr::Tuple(it) if it.ctx.is_load() && it.parenthesized => Kind::Sequence,
            Expr::ListComp(_) | Expr::SetComp(_) | Expr::DictComp(_) => Kind::Comprehension,
            _ => return,
        };
        self.program.expressions.push(Expression {
            at: span(expr.range()),
            function: self.function.clone(),
            kind,
            nested: self.inside > 0,
            loads: loads_of(expr),
        });
    }

    fn given(&mut self, name: &str, expr: &Expr) {
        let before = std::mem::replace(&mut self.given_to, name.to_owned());
        self.visit_expr(expr);
        self.given_to = before;
    }
}

impl<'a> SourceOrderVisitor<'a> for Walk<'_> {
    fn visit_body(&mut self, body: &'a [Stmt]) {
        self.suites += 1;
        let suite = self.suites;
        let real = body.iter().filter(|stmt| !is_text(stmt)).count();
        for stmt in body {
            self.statement(stmt, suite, real == 1);
            self.visit_stmt(stmt);
        }
    }

    fn visit_stmt(&mut self, stmt: &'a Stmt) {
        match stmt {
            // a remark is not a value
            Stmt::Expr(it) if it.value.is_string_literal_expr() => {}
            Stmt::FunctionDef(it) => {
                let top = self.function.is_empty();
                if top {
                    self.function = it.name.to_string();
                }
                self.visit_parameters(&it.parameters);
                self.visit_body(&it.body);
                if top {
                    self.function.clear();
                }
            }
            Stmt::Assign(it) => {
                let name = it.targets.first().and_then(Expr::as_name_expr).map_or("", |n| n.id.as_str());
                self.given(name, &it.value);
            }
            Stmt::AnnAssign(it) => {
                let name = it.target.as_name_expr().map_or("", |n| n.id.as_str());
                if let Some(value) = &it.value {
                    self.given(name, value);
                }
            }
            Stmt::AugAssign(it) => {
                self.operator(it.target.range().end(), it.value.range().start());
                let name = it.target.as_name_expr().map_or("", |n| n.id.as_str());
                self.given(name, &it.value);
            }
            _ => source_order::walk_stmt(self, stmt),
        }
    }

    fn visit_annotation(&mut self, _: &'a Expr) {}
    fn visit_decorator(&mut self, _: &'a ast::Decorator) {}
    fn visit_f_string(&mut self, _: &'a ast::FString) {}
    fn visit_t_string(&mut self, _: &'a ast::TString) {}

    fn visit_parameter_with_default(&mut self, it: &'a ast::ParameterWithDefault) {
        if let Some(default) = &it.default {
            self.given(it.parameter.name.as_str(), default);
        }
    }

    fn visit_keyword(&mut self, it: &'a ast::Keyword) {
        let name = it.arg.as_ref().map_or("", |name| name.as_str());
        self.given(name, &it.value);
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        match expr {
            Expr::NumberLiteral(it) => return self.number(it.range, &it.value, false),
            Expr::UnaryOp(it) if it.op == UnaryOp::USub => {
                if let Expr::NumberLiteral(number) = it.operand.as_ref() {
                    return self.number(it.range, &number.value, true);
                }
            }
            Expr::BinOp(it) => self.operator(it.left.range().end(), it.right.range().start()),
            Expr::BoolOp(it) => {
                for pair in it.values.windows(2) {
                    self.operator(pair[0].range().end(), pair[1].range().start());
                }
            }
            Expr::Compare(it) => {
                let mut left = it.left.range().end();
                for (op, right) in it.ops.iter().zip(&it.comparators) {
                    if !matches!(op, ast::CmpOp::Is | ast::CmpOp::IsNot | ast::CmpOp::In | ast::CmpOp::NotIn)
                    {
                        self.operator(left, right.range().start());
                    }
                    left = right.range().end();
                }
            }
            _ => {}
        }
        self.expression(expr);
        self.inside += 1;
        source_order::walk_expr(self, expr);
        self.inside -= 1;
    }
}
