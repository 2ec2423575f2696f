//! What a module is made of, as far as its caller cares: functions with their parameters, names, imports.

use coroner_diagnosis::Category;
use ruff_python_ast::visitor::{Visitor, walk_stmt};
use ruff_python_ast::{ModModule, Stmt, StmtFunctionDef};
use ruff_text_size::Ranged;
use serde::{Deserialize, Serialize};

use super::refusal::Source;
use super::scope::{Kind, Scope};
use super::{Finding, Screening};

/// A function of the module itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// 1-based line of its `def`.
    pub line: u64,
    /// Is it `async def`?
    pub is_async: bool,
    /// What it takes, in order.
    pub parameters: Vec<Parameter>,
}

/// A parameter of a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameter {
    /// Its name, with `*` or `**` in front where it takes what is left.
    pub name: String,
    /// May it be left out?
    pub has_default: bool,
    /// Must it be given by name?
    pub by_name_only: bool,
}

impl Function {
    /// How many arguments it takes without their names: at least, and at most (`None`: any number).
    #[must_use]
    pub fn positional(&self) -> (usize, Option<usize>) {
        let plain = || self.parameters.iter().filter(|p| !p.by_name_only && !p.name.starts_with('*'));
        let any = self.parameters.iter().any(|p| p.name.starts_with('*') && !p.name.starts_with("**"));
        (plain().filter(|p| !p.has_default).count(), (!any).then(|| plain().count()))
    }

    /// As it is written: "f(a, b=..., *rest)".
    #[must_use]
    pub fn signature(&self) -> String {
        let mut shown: Vec<String> = Vec::new();
        let mut by_name = false;
        for parameter in &self.parameters {
            if parameter.by_name_only && !by_name && !shown.iter().any(|p| p.starts_with('*')) {
                shown.push("*".to_owned());
            }
            by_name |= parameter.by_name_only;
            shown.push(format!("{}{}", parameter.name, if parameter.has_default { "=..." } else { "" }));
        }
        format!("{}({})", self.name, shown.join(", "))
    }

    /// A function as a task asks for it: "(frame, frame_index, config) -> bytes". `None` if that is no signature.
    #[must_use]
    pub fn wanted(name: &str, signature: &str) -> Option<Self> {
        let text = format!("def {name}{}: ...\n", signature.trim());
        let source = Source::new(&text);
        let parsed = super::parse::on_a_deep_stack(|| {
            let newest = super::PythonVersion { major: 3, minor: 15 };
            let parsed = super::parse::parse(&source, newest).ok()?;
            let found = super::parse::syntax_errors(&source, &parsed, newest);
            match parsed.syntax().body.as_slice() {
                [Stmt::FunctionDef(def)] if found.is_empty() => Some(Self::of(def, &source)),
                _ => None,
            }
        });
        parsed.flatten().filter(|function| function.name == name)
    }

    /// Can it be called as the other is?
    fn takes_what(&self, wanted: &Self) -> bool {
        let (least, most) = self.positional();
        let (_, given) = wanted.positional();
        let given = given.unwrap_or(least);
        let needs_names = self.parameters.iter().any(|p| p.by_name_only && !p.has_default);
        least <= given && most.is_none_or(|most| given <= most) && !needs_names
    }

    fn of(def: &StmtFunctionDef, source: &Source<'_>) -> Self {
        let parameters = &def.parameters;
        let plain = |p: &ruff_python_ast::ParameterWithDefault, by_name_only| Parameter {
            name: p.name().to_string(),
            has_default: p.default.is_some(),
            by_name_only,
        };
        let rest = |p: &ruff_python_ast::Parameter, stars: &str| Parameter {
            name: format!("{stars}{}", p.name()),
            has_default: false,
            by_name_only: false,
        };
        let mut all: Vec<Parameter> = Vec::new();
        all.extend(parameters.posonlyargs.iter().chain(&parameters.args).map(|p| plain(p, false)));
        all.extend(parameters.vararg.as_deref().map(|p| rest(p, "*")));
        all.extend(parameters.kwonlyargs.iter().map(|p| plain(p, true)));
        all.extend(parameters.kwarg.as_deref().map(|p| rest(p, "**")));
        Self {
            name: def.name.to_string(),
            line: source.place(def.name.start().to_usize()).line,
            is_async: def.is_async,
            parameters: all,
        }
    }
}

impl Screening {
    /// Looks whether an entry point of the task is there and can be called as the task calls it.
    pub fn require(&mut self, wanted: &Function) {
        // a source that can't be parsed, or with names that can't be seen, is no evidence that something is missing
        let unseen = self.unscreened.is_some()
            || self.names_unknown
            || self.findings.iter().any(|f| matches!(f.rule.as_str(), "syntax" | "source"));
        if unseen {
            return;
        }
        let finding = |message: String, why: &str, instead: String, line: u64| Finding {
            rule: "entry-point".to_owned(),
            category: Category::ValidationError,
            message,
            what: wanted.name.clone(),
            why: why.to_owned(),
            instead,
            line,
            column: 1,
            text: String::new(),
            suspect: None,
        };
        match self.functions.iter().find(|function| function.name == wanted.name) {
            Some(function) if function.is_async && !wanted.is_async => self.findings.push(finding(
                format!("Function '{}' is async, but is called as a plain function", wanted.name),
                "What it returns would be a coroutine and not the result.",
                format!("Define it as def {}.", wanted.signature()),
                function.line,
            )),
            Some(function) if !function.takes_what(wanted) => self.findings.push(finding(
                format!(
                    "Function {} can't be called as the task calls it: {}",
                    function.signature(),
                    wanted.signature()
                ),
                "The task calls it with arguments by position.",
                format!("Define it as def {}.", wanted.signature()),
                function.line,
            )),
            Some(_) => {}
            // bound in another way: a class, a partial, an import
            None if self.names.binary_search(&wanted.name).is_ok() => {}
            None => {
                let others: Vec<&str> = self.functions.iter().map(|f| f.name.as_str()).take(5).collect();
                let there = if others.is_empty() {
                    "it defines no function".to_owned()
                } else {
                    format!("it defines {}", others.join(", "))
                };
                self.findings.push(finding(
                    format!("Function '{}' not found in code", wanted.name),
                    &format!("The task calls it, and {there}."),
                    format!("Define def {} at the top level of the file.", wanted.signature()),
                    1,
                ));
            }
        }
    }
}

/// Adds functions, names and imports to the screening.
pub(super) fn describe(module: &ModModule, source: &Source<'_>, screening: &mut Screening) {
    let scope = Scope::of_body(Kind::Module, &module.body);
    screening.names = scope.names().map(str::to_owned).collect();
    screening.names.sort_unstable();
    screening.names_unknown = !scope.starred.is_empty();
    let mut seen = Definitions { source, functions: Vec::new(), imports: Vec::new(), depth: 0 };
    seen.visit_body(&module.body);
    screening.functions = seen.functions;
    screening.imports = seen.imports;
}

struct Definitions<'s> {
    source: &'s Source<'s>,
    functions: Vec<Function>,
    imports: Vec<String>,
    /// Functions and classes around.
    depth: usize,
}

impl Definitions<'_> {
    fn import(&mut self, module: String) {
        if !self.imports.contains(&module) {
            self.imports.push(module);
        }
    }
}

impl<'a> Visitor<'a> for Definitions<'_> {
    fn visit_stmt(&mut self, stmt: &'a Stmt) {
        match stmt {
            Stmt::FunctionDef(def) => {
                if self.depth == 0 {
                    let function = Function::of(def, self.source);
                    // the last definition of a name is the one that holds
                    self.functions.retain(|other| other.name != function.name);
                    self.functions.push(function);
                }
                self.depth += 1;
                self.visit_body(&def.body);
                self.depth -= 1;
            }
            Stmt::ClassDef(def) => {
                self.depth += 1;
                self.visit_body(&def.body);
                self.depth -= 1;
            }
            Stmt::Import(import) => {
                for alias in &import.names {
                    self.import(alias.name.to_string());
                }
            }
            Stmt::ImportFrom(import) => {
                let dots = ".".repeat(import.level as usize);
                let module = import.module.as_ref().map_or("", |m| m.as_str());
                self.import(format!("{dots}{module}"));
            }
            _ => walk_stmt(self, stmt),
        }
    }

    // only statements define and import
    fn visit_expr(&mut self, _: &'a ruff_python_ast::Expr) {}
}
