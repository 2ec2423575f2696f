//! What parses and is no program all the same: `return` outside a function, a parameter twice, a late `global`. The checks
//! are ruff's; here is what they need to know of the place where a statement or expression stands.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use ruff_python_ast::visitor::{Visitor, walk_expr, walk_stmt};
use ruff_python_ast::{Comprehension, Expr, ModModule, Parameters, PythonVersion as Target, Stmt};
use ruff_python_parser::semantic_errors::{
    LazyImportContext, SemanticSyntaxChecker, SemanticSyntaxContext, SemanticSyntaxError,
};
use ruff_text_size::{Ranged, TextRange};

use super::PythonVersion;
use super::refusal::Source;
use super::scope::{Kind, Scope};

/// What makes the module no program, as byte ranges and messages, in the order of the source.
pub(super) fn errors(
    module: &ModModule,
    source: &Source<'_>,
    python: PythonVersion,
) -> Vec<(usize, usize, String)> {
    let future_annotations = module.body.iter().any(|stmt| match stmt {
        Stmt::ImportFrom(import) => {
            import.module.as_deref() == Some("__future__")
                && import.names.iter().any(|n| &n.name == "annotations")
        }
        _ => false,
    });
    let place = Place {
        text: source.text,
        python: Target { major: python.major, minor: python.minor },
        future_annotations,
        frames: vec![Frame::new(Around::Module, Scope::of_body(Kind::Module, &module.body), &module.body)],
        found: RefCell::default(),
    };
    let mut walker = Walker { checker: SemanticSyntaxChecker::new(), place };
    walker.visit_body(&module.body);
    let found = walker.place.found.into_inner();
    let range = |e: &SemanticSyntaxError| (e.range.start().to_usize(), e.range.end().to_usize());
    found.iter().map(|e| (range(e).0, range(e).1, e.to_string())).collect()
}

/// What stands around a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Around {
    Module,
    Class,
    Function { is_async: bool },
    Lambda,
    Comprehension { is_async: bool, is_generator: bool },
}

struct Frame<'a> {
    around: Around,
    scope: Scope<'a>,
    globals: HashMap<&'a str, TextRange>,
    parameters: HashSet<&'a str>,
    loops: usize,
}

impl<'a> Frame<'a> {
    fn new(around: Around, scope: Scope<'a>, body: &'a [Stmt]) -> Self {
        let mut globals = Globals(HashMap::new());
        globals.visit_body(body);
        Self { around, scope, globals: globals.0, parameters: HashSet::new(), loops: 0 }
    }

    fn taking(mut self, parameters: Option<&'a Parameters>) -> Self {
        self.parameters.extend(
            parameters
                .into_iter()
                .flat_map(Parameters::iter)
                .map(|parameter| parameter.as_parameter().name().as_str()),
        );
        self
    }
}

/// The `global` statements of one scope.
struct Globals<'a>(HashMap<&'a str, TextRange>);

impl<'a> Visitor<'a> for Globals<'a> {
    fn visit_stmt(&mut self, stmt: &'a Stmt) {
        match stmt {
            Stmt::Global(global) => {
                for name in &global.names {
                    self.0.entry(name.as_str()).or_insert(global.range());
                }
            }
            Stmt::FunctionDef(_) | Stmt::ClassDef(_) => {}
            _ => walk_stmt(self, stmt),
        }
    }

    fn visit_expr(&mut self, _: &'a Expr) {}
}

struct Place<'a> {
    text: &'a str,
    python: Target,
    future_annotations: bool,
    frames: Vec<Frame<'a>>,
    found: RefCell<Vec<SemanticSyntaxError>>,
}

impl Place<'_> {
    /// What stands around, the nearest first.
    fn around(&self) -> impl Iterator<Item = Around> {
        self.frames.iter().rev().map(|frame| frame.around)
    }

    fn innermost(&self) -> Option<&Frame<'_>> {
        self.frames.last()
    }
}

impl SemanticSyntaxContext for Place<'_> {
    fn future_annotations_or_stub(&self) -> bool {
        self.future_annotations
    }

    fn lazy_import_context(&self) -> Option<LazyImportContext> {
        None
    }

    fn python_version(&self) -> Target {
        self.python
    }

    fn source(&self) -> &str {
        self.text
    }

    fn global(&self, name: &str) -> Option<TextRange> {
        self.innermost()?.globals.get(name).copied()
    }

    fn has_nonlocal_binding(&self, name: &str) -> bool {
        let around = self.frames.iter().rev().skip(1);
        around
            .filter(|frame| matches!(frame.around, Around::Function { .. } | Around::Lambda))
            .any(|frame| !frame.scope.get(name).is_empty() || frame.parameters.contains(name))
    }

    fn in_async_context(&self) -> bool {
        let decides = self.around().find(|around| !matches!(around, Around::Comprehension { .. }));
        decides == Some(Around::Function { is_async: true })
    }

    fn in_await_allowed_context(&self) -> bool {
        let decides = self.around().find(|around| !matches!(around, Around::Comprehension { .. }));
        matches!(decides, Some(Around::Function { .. } | Around::Lambda))
    }

    fn in_yield_allowed_context(&self) -> bool {
        matches!(self.around().next(), Some(Around::Function { .. } | Around::Lambda))
    }

    fn in_sync_comprehension(&self) -> bool {
        self.around().any(|around| around == Around::Comprehension { is_async: false, is_generator: false })
    }

    fn in_class_body_comprehension(&self) -> bool {
        self.around().find(|around| !matches!(around, Around::Comprehension { .. })) == Some(Around::Class)
    }

    fn in_module_scope(&self) -> bool {
        self.around().next() == Some(Around::Module)
    }

    fn in_function_scope(&self) -> bool {
        matches!(self.around().next(), Some(Around::Function { .. }))
    }

    fn in_generator_context(&self) -> bool {
        self.around().any(|around| matches!(around, Around::Comprehension { is_generator: true, .. }))
    }

    fn in_notebook(&self) -> bool {
        false
    }

    fn report_semantic_error(&self, error: SemanticSyntaxError) {
        self.found.borrow_mut().push(error);
    }

    fn in_loop_context(&self) -> bool {
        self.innermost().is_some_and(|frame| frame.loops > 0)
    }

    fn is_bound_parameter(&self, name: &str) -> bool {
        self.innermost().is_some_and(|frame| frame.parameters.contains(name))
    }
}

struct Walker<'a> {
    checker: SemanticSyntaxChecker,
    place: Place<'a>,
}

impl<'a> Walker<'a> {
    fn inside(&mut self, frame: Frame<'a>, visit: impl FnOnce(&mut Self)) {
        self.place.frames.push(frame);
        visit(self);
        self.place.frames.pop();
    }

    fn looping(&mut self, body: &'a [Stmt]) {
        let change = |this: &mut Self, by: isize| {
            if let Some(frame) = this.place.frames.last_mut() {
                frame.loops = frame.loops.saturating_add_signed(by);
            }
        };
        change(self, 1);
        self.visit_body(body);
        change(self, -1);
    }

    fn comprehension(&mut self, generators: &'a [Comprehension], is_generator: bool, parts: &[&'a Expr]) {
        if let Some(first) = generators.first() {
            self.visit_expr(&first.iter);
        }
        let is_async = generators.iter().any(|generator| generator.is_async);
        let around = Around::Comprehension { is_async, is_generator };
        self.inside(Frame::new(around, Scope::of_comprehension(generators), &[]), |this| {
            for (i, generator) in generators.iter().enumerate() {
                if i > 0 {
                    this.visit_expr(&generator.iter);
                }
                this.visit_expr(&generator.target);
                for condition in &generator.ifs {
                    this.visit_expr(condition);
                }
            }
            for part in parts {
                this.visit_expr(part);
            }
        });
    }
}

impl<'a> Visitor<'a> for Walker<'a> {
    fn visit_stmt(&mut self, stmt: &'a Stmt) {
        self.checker.visit_stmt(stmt, &self.place);
        match stmt {
            Stmt::FunctionDef(def) => {
                for decorator in &def.decorator_list {
                    self.visit_decorator(decorator);
                }
                self.visit_parameters(&def.parameters);
                if let Some(returns) = &def.returns {
                    self.visit_annotation(returns);
                }
                let around = Around::Function { is_async: def.is_async };
                let scope = Scope::of_body(Kind::Function, &def.body);
                let frame = Frame::new(around, scope, &def.body).taking(Some(&def.parameters));
                self.inside(frame, |this| this.visit_body(&def.body));
            }
            Stmt::ClassDef(def) => {
                for decorator in &def.decorator_list {
                    self.visit_decorator(decorator);
                }
                if let Some(arguments) = &def.arguments {
                    self.visit_arguments(arguments);
                }
                let frame = Frame::new(Around::Class, Scope::of_body(Kind::Class, &def.body), &def.body);
                self.inside(frame, |this| this.visit_body(&def.body));
            }
            Stmt::For(each) => {
                self.visit_expr(&each.iter);
                self.visit_expr(&each.target);
                self.looping(&each.body);
                self.visit_body(&each.orelse);
            }
            Stmt::While(repeat) => {
                self.visit_expr(&repeat.test);
                self.looping(&repeat.body);
                self.visit_body(&repeat.orelse);
            }
            _ => walk_stmt(self, stmt),
        }
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        self.checker.visit_expr(expr, &self.place);
        match expr {
            Expr::Lambda(lambda) => {
                if let Some(parameters) = &lambda.parameters {
                    self.visit_parameters(parameters);
                }
                let scope = Scope::of_lambda(lambda.parameters.as_deref(), &lambda.body);
                let frame = Frame::new(Around::Lambda, scope, &[]).taking(lambda.parameters.as_deref());
                self.inside(frame, |this| this.visit_expr(&lambda.body));
            }
            Expr::ListComp(comp) => self.comprehension(&comp.generators, false, &[&comp.elt]),
            Expr::SetComp(comp) => self.comprehension(&comp.generators, false, &[&comp.elt]),
            Expr::Generator(comp) => self.comprehension(&comp.generators, true, &[&comp.elt]),
            Expr::DictComp(comp) => {
                let parts: Vec<&Expr> = comp.key.as_deref().into_iter().chain([&*comp.value]).collect();
                self.comprehension(&comp.generators, false, &parts);
            }
            _ => walk_expr(self, expr),
        }
    }
}
