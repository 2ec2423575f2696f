//! Which names a piece of code binds, and to what: the parameters, assignments, imports and definitions of one scope,
//! without those of the functions inside it.

use std::collections::{HashMap, HashSet};

use ruff_python_ast::visitor::{Visitor, walk_expr, walk_pattern, walk_stmt};
use ruff_python_ast::{Comprehension, ExceptHandler, Expr, Parameters, Pattern, Stmt, TypeParams};
use ruff_text_size::Ranged;

/// So many bindings of one name are looked at; a name that is bound more often could be anything.
const MOST_BOUND: usize = 16;

/// What a name is bound to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bound<'a> {
    /// A module: `import a.b as c`, or `import a.b`, which binds `a`.
    Module(&'a str),
    /// Something of a module: `from a.b import c`.
    Member(&'a str, &'a str),
    /// The value of an expression.
    Value(&'a Expr),
    /// A parameter, a loop's variable, a function: something of the candidate's own.
    Own,
}

/// The names of one scope.
#[derive(Debug, Default)]
pub(super) struct Scope<'a> {
    pub(super) kind: Kind,
    names: HashMap<&'a str, Vec<(usize, Bound<'a>)>>,
    globals: HashSet<&'a str>,
    nonlocals: HashSet<&'a str>,
    /// Modules of which everything was imported.
    pub(super) starred: Vec<&'a str>,
}

/// Whose scope it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Kind {
    #[default]
    Module,
    Class,
    Function,
    /// A lambda or a comprehension.
    Expression,
}

impl<'a> Scope<'a> {
    pub(super) fn of_body(kind: Kind, body: &'a [Stmt]) -> Self {
        let mut scope = Self { kind, ..Self::default() };
        scope.visit_body(body);
        scope
    }

    pub(super) fn of_comprehension(generators: &'a [Comprehension]) -> Self {
        let mut scope = Self { kind: Kind::Expression, ..Self::default() };
        for generator in generators {
            scope.target(&generator.target, None);
        }
        scope
    }

    pub(super) fn of_lambda(parameters: Option<&'a Parameters>, body: &'a Expr) -> Self {
        let mut scope = Self { kind: Kind::Expression, ..Self::default() };
        if let Some(parameters) = parameters {
            scope.parameters(parameters);
        }
        scope.visit_expr(body);
        scope
    }

    pub(super) fn parameters(&mut self, parameters: &'a Parameters) {
        for parameter in parameters.iter() {
            let name = parameter.as_parameter().name();
            self.bind(name.as_str(), name.range().start().to_usize(), Bound::Own);
        }
    }

    pub(super) fn type_parameters(&mut self, parameters: Option<&'a TypeParams>) {
        for parameter in parameters.into_iter().flat_map(|p| p.type_params.iter()) {
            let name = parameter.name();
            self.bind(name.as_str(), name.range().start().to_usize(), Bound::Own);
        }
    }

    /// What the name is bound to here, by position; empty if it is not bound here.
    pub(super) fn get(&self, name: &str) -> &[(usize, Bound<'a>)] {
        if self.globals.contains(name) || self.nonlocals.contains(name) {
            return &[];
        }
        self.names.get(name).map_or(&[], Vec::as_slice)
    }

    /// Does the name mean that of the module here, whatever lies between?
    pub(super) fn is_global(&self, name: &str) -> bool {
        self.globals.contains(name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.names.keys().copied()
    }

    fn bind(&mut self, name: &'a str, at: usize, to: Bound<'a>) {
        let bound = self.names.entry(name).or_default();
        if bound.len() < MOST_BOUND {
            bound.push((at, to));
        }
    }

    /// Binds what an assignment's left side names. A value counts only where it is one name.
    fn target(&mut self, target: &'a Expr, value: Option<&'a Expr>) {
        match target {
            Expr::Name(name) => {
                let to = value.map_or(Bound::Own, Bound::Value);
                self.bind(name.id.as_str(), name.range().start().to_usize(), to);
            }
            Expr::Tuple(tuple) => self.targets(&tuple.elts, value),
            Expr::List(list) => self.targets(&list.elts, value),
            Expr::Starred(starred) => self.target(&starred.value, None),
            _ => {}
        }
    }

    fn targets(&mut self, targets: &'a [Expr], value: Option<&'a Expr>) {
        let values = match value {
            Some(Expr::Tuple(tuple)) => Some(&tuple.elts),
            Some(Expr::List(list)) => Some(&list.elts),
            _ => None,
        };
        let paired =
            values.filter(|v| v.len() == targets.len() && !targets.iter().any(Expr::is_starred_expr));
        for (i, target) in targets.iter().enumerate() {
            self.target(target, paired.and_then(|values| values.get(i)));
        }
    }
}

impl<'a> Visitor<'a> for Scope<'a> {
    fn visit_stmt(&mut self, stmt: &'a Stmt) {
        match stmt {
            // their bodies are scopes of their own; decorators, defaults and bases can bind with := only
            Stmt::FunctionDef(def) => {
                self.bind(def.name.as_str(), def.name.range().start().to_usize(), Bound::Own);
                for decorator in &def.decorator_list {
                    self.visit_decorator(decorator);
                }
                for default in def.parameters.iter_non_variadic_params().filter_map(|p| p.default()) {
                    self.visit_expr(default);
                }
                return;
            }
            Stmt::ClassDef(def) => {
                self.bind(def.name.as_str(), def.name.range().start().to_usize(), Bound::Own);
                for decorator in &def.decorator_list {
                    self.visit_decorator(decorator);
                }
                if let Some(arguments) = &def.arguments {
                    self.visit_arguments(arguments);
                }
                return;
            }
            Stmt::Assign(assign) => {
                for target in &assign.targets {
                    self.target(target, Some(&assign.value));
                }
            }
            Stmt::AnnAssign(assign) => {
                if let Some(value) = &assign.value {
                    self.target(&assign.target, Some(value));
                }
            }
            Stmt::AugAssign(assign) => self.target(&assign.target, None),
            Stmt::For(each) => self.target(&each.target, None),
            Stmt::With(with) => {
                for target in with.items.iter().filter_map(|item| item.optional_vars.as_deref()) {
                    self.target(target, None);
                }
            }
            Stmt::TypeAlias(alias) => self.target(&alias.name, None),
            Stmt::Import(import) => {
                for alias in &import.names {
                    let module = alias.name.as_str();
                    match &alias.asname {
                        Some(name) => {
                            self.bind(name.as_str(), name.start().to_usize(), Bound::Module(module));
                        }
                        None => {
                            let first = module.split('.').next().unwrap_or(module);
                            self.bind(first, alias.start().to_usize(), Bound::Module(first));
                        }
                    }
                }
            }
            Stmt::ImportFrom(import) => {
                let module = import.module.as_ref().filter(|_| import.level == 0).map(|m| m.as_str());
                for alias in &import.names {
                    let name = alias.name.as_str();
                    let bound = alias.asname.as_ref().map_or(name, |asname| asname.as_str());
                    match module {
                        Some(module) if name == "*" => self.starred.push(module),
                        Some(module) => {
                            self.bind(bound, alias.start().to_usize(), Bound::Member(module, name));
                        }
                        None => self.bind(bound, alias.start().to_usize(), Bound::Own),
                    }
                }
            }
            Stmt::Global(global) => self.globals.extend(global.names.iter().map(|name| name.as_str())),
            Stmt::Nonlocal(nonlocal) => {
                self.nonlocals.extend(nonlocal.names.iter().map(|name| name.as_str()));
            }
            _ => {}
        }
        walk_stmt(self, stmt);
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        match expr {
            Expr::Named(named) => self.target(&named.target, Some(&named.value)),
            Expr::Lambda(_) => return,
            // the targets of a comprehension are its own; := in it binds here
            _ => {}
        }
        walk_expr(self, expr);
    }

    fn visit_except_handler(&mut self, handler: &'a ExceptHandler) {
        let ExceptHandler::ExceptHandler(inner) = handler;
        if let Some(name) = &inner.name {
            self.bind(name.as_str(), name.start().to_usize(), Bound::Own);
        }
        ruff_python_ast::visitor::walk_except_handler(self, handler);
    }

    fn visit_pattern(&mut self, pattern: &'a Pattern) {
        let name = match pattern {
            Pattern::MatchAs(inner) => inner.name.as_ref(),
            Pattern::MatchStar(inner) => inner.name.as_ref(),
            Pattern::MatchMapping(inner) => inner.rest.as_ref(),
            _ => None,
        };
        if let Some(name) = name {
            self.bind(name.as_str(), name.start().to_usize(), Bound::Own);
        }
        walk_pattern(self, pattern);
    }
}
