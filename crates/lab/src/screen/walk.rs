//! Walks over the tree and asks the policy about every import, name, attribute and call, as what it resolves to.

use std::collections::HashSet;

use coroner_diagnosis::Category;
use ruff_python_ast::visitor::{Visitor, walk_expr, walk_stmt};
use ruff_python_ast::{
    Comprehension, Expr, ExprAttribute, ExprContext, ExprName, ModModule, Parameters, Stmt, StmtImportFrom,
};
use ruff_text_size::{Ranged, TextRange};

use super::builtins::is_builtin;
use super::policy::{Policy, Rule};
use super::refusal::Source;
use super::resolve::{Found, Scopes};
use super::scope::{Kind, Scope};
use super::{Finding, suspect};

/// What the policy refuses in a module, and what is worth a note.
pub(super) fn walk(module: &ModModule, source: &Source<'_>, policy: &Policy) -> (Vec<Finding>, Vec<Finding>) {
    let mut own = OwnAttributes(HashSet::new());
    own.visit_body(&module.body);
    let mut walker = Walker {
        source,
        policy,
        scopes: Scopes { stack: vec![Scope::of_body(Kind::Module, &module.body)] },
        own_attributes: own.0,
        findings: Vec::new(),
        notes: Vec::new(),
    };
    walker.visit_body(&module.body);
    let (mut findings, mut notes) = (walker.findings, walker.notes);
    for found in [&mut findings, &mut notes] {
        // of those that begin at one place, what is inside the other comes first
        found.sort_by_key(|f| (f.line, f.column, f.text.len()));
        // the same at another place says nothing new
        let mut said: HashSet<(String, String)> = HashSet::new();
        found.retain(|f| said.insert((f.rule.clone(), f.message.clone())));
    }
    (findings, notes)
}

/// Attributes that the candidate itself sets: `self.f_back = ...` makes `f_back` one of its own.
struct OwnAttributes<'a>(HashSet<&'a str>);

impl<'a> Visitor<'a> for OwnAttributes<'a> {
    fn visit_expr(&mut self, expr: &'a Expr) {
        if let Expr::Attribute(attribute) = expr
            && attribute.ctx == ExprContext::Store
            && !attribute.attr.starts_with("__")
        {
            self.0.insert(attribute.attr.as_str());
        }
        walk_expr(self, expr);
    }
}

pub(super) struct Walker<'s, 'a> {
    source: &'s Source<'s>,
    pub(super) policy: &'s Policy,
    pub(super) scopes: Scopes<'a>,
    own_attributes: HashSet<&'a str>,
    findings: Vec<Finding>,
    pub(super) notes: Vec<Finding>,
}

/// What is refused, before it is known where.
pub(super) struct Refused<'r> {
    pub(super) rule: &'r str,
    pub(super) why: &'r str,
    pub(super) instead: &'r str,
    pub(super) message: String,
    pub(super) what: String,
    pub(super) suspect: Option<String>,
}

impl<'a> Walker<'_, 'a> {
    fn refuse(&mut self, refused: Refused<'_>, range: TextRange) {
        let finding = self.finding(refused, range);
        self.findings.push(finding);
    }

    pub(super) fn finding(&self, refused: Refused<'_>, range: TextRange) -> Finding {
        let (start, end) = (range.start().to_usize(), range.end().to_usize());
        let place = self.source.place(start);
        Finding {
            rule: refused.rule.to_owned(),
            category: Category::ValidationError,
            message: refused.message,
            what: refused.what,
            why: refused.why.to_owned(),
            instead: refused.instead.to_owned(),
            line: place.line,
            column: place.column,
            text: self.source.piece(start, end),
            suspect: refused.suspect,
        }
    }

    pub(super) fn by_rule(
        &mut self,
        rule: &Rule,
        message: String,
        what: &str,
        suspect: Option<String>,
        range: TextRange,
    ) {
        let refused = Refused {
            rule: &rule.id,
            why: &rule.why,
            instead: &rule.instead,
            message,
            what: what.to_owned(),
            suspect,
        };
        self.refuse(refused, range);
    }

    /// Is the module allowed? `form` is how the message begins.
    pub(super) fn module(&mut self, module: &str, form: &str, range: TextRange) {
        let policy = self.policy;
        let (rule, allowed) = policy.module(module);
        let message = format!("{form}: {module}");
        match rule {
            Some(rule) => self.by_rule(rule, message, module, suspect::of_module(module), range),
            None if allowed => {}
            None => {
                let refused = Refused {
                    rule: "imports",
                    why: "Only the modules that the policy lists may be imported.",
                    instead: "Do it with the allowed modules, or write the part that is needed yourself.",
                    message,
                    what: module.to_owned(),
                    suspect: suspect::of_module(module),
                };
                self.refuse(refused, range);
            }
        }
    }

    fn import_from(&mut self, import: &'a StmtImportFrom) {
        let module = import.module.as_ref().map_or("", |m| m.as_str());
        if import.level > 0 {
            let from = format!("{}{module}", ".".repeat(import.level as usize));
            let refused = Refused {
                rule: "relative-import",
                why: "A candidate is one file and belongs to no package, so a relative import finds nothing.",
                instead: "Import modules by their whole name, and put functions of your own into this file.",
                message: format!("Forbidden import from: {from}"),
                what: from,
                suspect: None,
            };
            return self.refuse(refused, import.range());
        }
        let policy = self.policy;
        // `from concurrent import futures` imports concurrent.futures
        let (rule, allowed) = policy.module(module);
        if rule.is_none() && !allowed && policy.allows_inside(module) {
            for alias in &import.names {
                self.module(&format!("{module}.{}", alias.name), "Forbidden import from", import.range());
            }
            return;
        }
        self.module(module, "Forbidden import from", import.range());
        if rule.is_none() && allowed {
            for alias in &import.names {
                self.path(&format!("{module}.{}", alias.name), import.range());
            }
        }
    }

    /// Asks about what a module or the built-ins hold. True if it is refused.
    pub(super) fn path(&mut self, path: &str, range: TextRange) -> bool {
        let policy = self.policy;
        let builtin = path.strip_prefix("builtins.").filter(|name| !name.contains('.'));
        let wanted = if path == "builtins" { "__builtins__" } else { builtin.unwrap_or(path) };
        for rule in policy.rules.iter().filter(|rule| !rule.as_written) {
            if rule.names.iter().any(|name| name == wanted) {
                let suspect = builtin.and_then(suspect::of_builtin);
                self.by_rule(rule, format!("Forbidden name: {wanted}"), wanted, suspect, range);
                return true;
            }
            if rule.modules.iter().any(|module| module == path && module.contains('.')) {
                self.by_rule(
                    rule,
                    format!("Forbidden import: {path}"),
                    path,
                    suspect::of_module(path),
                    range,
                );
                return true;
            }
        }
        if let (Some(name), Some(allowed)) = (builtin, &policy.allow_builtins)
            && is_builtin(name)
            && !allowed.contains(name)
        {
            let refused = Refused {
                rule: "builtins",
                why: "Only the built-ins that the policy lists may be used.",
                instead: "Do it with the allowed built-ins.",
                message: format!("Forbidden name: {name}"),
                what: name.to_owned(),
                suspect: suspect::of_builtin(name),
            };
            self.refuse(refused, range);
            return true;
        }
        self.borrowed(path, range)
    }

    /// A module that another module has as an attribute: `random._os`.
    fn borrowed(&mut self, path: &str, range: TextRange) -> bool {
        let Some((base, last)) = path.rsplit_once('.') else { return false };
        if base == "builtins" || base.contains("()") {
            return false;
        }
        let module = last.trim_start_matches('_');
        let policy = self.policy;
        match policy.rules.iter().find(|rule| rule.borrowed_modules.iter().any(|m| m == module)) {
            Some(rule) => {
                self.by_rule(rule, format!("Forbidden import: {module}"), module, None, range);
                true
            }
            None => false,
        }
    }

    fn name(&mut self, expr: &'a Expr, name: &'a ExprName) {
        let id = name.id.as_str();
        self.as_written(id, name.range());
        let innermost = self.scopes.stack.len() - 1;
        if name.ctx != ExprContext::Store
            && matches!(self.scopes.find(id, name.start().to_usize(), innermost), Found::Free)
        {
            match id {
                "__builtins__" | "__builtin__" => self.path("builtins", name.range()),
                _ => match self.scopes.path(expr) {
                    Some(path) => self.path(&path, name.range()),
                    None => false,
                },
            };
        }
    }

    /// Rules of the old kind, which look at letters and not at what they mean.
    fn as_written(&mut self, id: &str, range: TextRange) {
        let policy = self.policy;
        for rule in
            policy.rules.iter().filter(|rule| rule.as_written && rule.names.iter().any(|name| name == id))
        {
            let innermost = self.scopes.stack.len() - 1;
            let bound = matches!(self.scopes.find(id, range.start().to_usize(), innermost), Found::Bound(..));
            let suspect = if bound { Some(suspect::own_name(id)) } else { suspect::of_builtin(id) };
            self.by_rule(rule, format!("Forbidden name: {id}"), id, suspect, range);
        }
    }

    /// `hidden` is an attribute whose name stands in a string.
    pub(super) fn attribute(
        &mut self,
        base: Option<&str>,
        attr: &str,
        hidden: bool,
        range: TextRange,
    ) -> bool {
        let policy = self.policy;
        for rule in &policy.rules {
            let listed = rule.attributes.iter().any(|name| name == attr);
            let only_hidden = hidden && rule.hidden_attributes.iter().any(|name| name == attr);
            if (listed && !self.own_attributes.contains(attr)) || only_hidden {
                let suspect = suspect::of_attribute(base, attr);
                self.by_rule(rule, format!("Forbidden attribute: {attr}"), attr, suspect, range);
                return true;
            }
        }
        false
    }

    fn attribute_of(&mut self, attribute: &'a ExprAttribute) {
        let base = self.scopes.path(&attribute.value);
        let attr = attribute.attr.as_str();
        let range = attribute.attr.range();
        if !self.attribute(base.as_deref(), attr, false, range)
            && let Some(base) = base
        {
            self.path(&format!("{base}.{attr}"), range);
        }
    }

    fn asynchronous(&mut self, range: TextRange) {
        if !self.policy.allow_async {
            let refused = Refused {
                rule: "async",
                why: "A candidate is called and has to return its result; nothing would run a coroutine.",
                instead: "Write plain functions: drop `async` and `await`, and return the result directly.",
                message: "Async code not allowed".to_owned(),
                what: "async".to_owned(),
                suspect: None,
            };
            self.refuse(refused, range);
        }
    }

    fn parameters(&mut self, parameters: &'a Parameters) {
        for parameter in parameters.iter() {
            let name = parameter.as_parameter().name();
            self.as_written(name.as_str(), name.range());
        }
    }

    fn inside(&mut self, scope: Scope<'a>, visit: impl FnOnce(&mut Self)) {
        self.scopes.stack.push(scope);
        visit(self);
        self.scopes.stack.pop();
    }

    fn comprehension(&mut self, generators: &'a [Comprehension], visit: impl FnOnce(&mut Self)) {
        if let Some(generator) = generators.iter().find(|generator| generator.is_async) {
            self.asynchronous(generator.range());
        }
        // the first iterable belongs to the scope around
        if let Some(first) = generators.first() {
            self.visit_expr(&first.iter);
        }
        self.inside(Scope::of_comprehension(generators), |this| {
            for (i, generator) in generators.iter().enumerate() {
                if i > 0 {
                    this.visit_expr(&generator.iter);
                }
                this.visit_expr(&generator.target);
                for condition in &generator.ifs {
                    this.visit_expr(condition);
                }
            }
            visit(this);
        });
    }
}

impl<'a> Visitor<'a> for Walker<'_, 'a> {
    fn visit_stmt(&mut self, stmt: &'a Stmt) {
        match stmt {
            Stmt::Import(import) => {
                for alias in &import.names {
                    self.module(alias.name.as_str(), "Forbidden import", alias.range());
                }
            }
            Stmt::ImportFrom(import) => self.import_from(import),
            Stmt::FunctionDef(def) => {
                if def.is_async {
                    self.asynchronous(TextRange::new(def.start(), def.name.end()));
                }
                for decorator in &def.decorator_list {
                    self.visit_decorator(decorator);
                }
                if let Some(parameters) = &def.type_params {
                    self.visit_type_params(parameters);
                }
                // defaults and annotations belong to the scope around
                self.visit_parameters(&def.parameters);
                if let Some(returns) = &def.returns {
                    self.visit_annotation(returns);
                }
                let mut scope = Scope::of_body(Kind::Function, &def.body);
                scope.parameters(&def.parameters);
                scope.type_parameters(def.type_params.as_deref());
                self.inside(scope, |this| {
                    this.parameters(&def.parameters);
                    this.visit_body(&def.body);
                });
            }
            Stmt::ClassDef(def) => {
                if let Some(allowed) = &self.policy.allow_builtins
                    && !allowed.contains("__build_class__")
                {
                    self.path("builtins.__build_class__", TextRange::new(def.start(), def.name.end()));
                }
                for decorator in &def.decorator_list {
                    self.visit_decorator(decorator);
                }
                if let Some(parameters) = &def.type_params {
                    self.visit_type_params(parameters);
                }
                if let Some(arguments) = &def.arguments {
                    self.visit_arguments(arguments);
                }
                let mut scope = Scope::of_body(Kind::Class, &def.body);
                scope.type_parameters(def.type_params.as_deref());
                self.inside(scope, |this| this.visit_body(&def.body));
            }
            Stmt::For(each) if each.is_async => {
                self.asynchronous(each.range());
                walk_stmt(self, stmt);
            }
            Stmt::With(with) if with.is_async => {
                self.asynchronous(with.range());
                walk_stmt(self, stmt);
            }
            _ => walk_stmt(self, stmt),
        }
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        match expr {
            Expr::Name(name) => return self.name(expr, name),
            Expr::Attribute(attribute) => self.attribute_of(attribute),
            Expr::Call(call) => self.call(expr, call),
            Expr::Subscript(_) => {
                if let Some(path) = self.scopes.path(expr) {
                    self.path(&path, expr.range());
                }
            }
            Expr::Await(_) => self.asynchronous(expr.range()),
            Expr::Lambda(lambda) => {
                if let Some(parameters) = &lambda.parameters {
                    self.visit_parameters(parameters);
                }
                let scope = Scope::of_lambda(lambda.parameters.as_deref(), &lambda.body);
                return self.inside(scope, |this| {
                    if let Some(parameters) = &lambda.parameters {
                        this.parameters(parameters);
                    }
                    this.visit_expr(&lambda.body);
                });
            }
            Expr::ListComp(comp) => {
                return self.comprehension(&comp.generators, |this| this.visit_expr(&comp.elt));
            }
            Expr::SetComp(comp) => {
                return self.comprehension(&comp.generators, |this| this.visit_expr(&comp.elt));
            }
            Expr::Generator(comp) => {
                return self.comprehension(&comp.generators, |this| this.visit_expr(&comp.elt));
            }
            Expr::DictComp(comp) => {
                return self.comprehension(&comp.generators, |this| {
                    for part in [comp.key.as_deref(), Some(&*comp.value)].into_iter().flatten() {
                        this.visit_expr(part);
                    }
                });
            }
            _ => {}
        }
        walk_expr(self, expr);
    }
}
