//! What a module is made of, as far as its caller cares: functions with their parameters, names, imports.

use ruff_python_ast::visitor::{Visitor, walk_stmt};
use ruff_python_ast::{ModModule, Stmt, StmtFunctionDef};
use ruff_text_size::Ranged;
use serde::{Deserialize, Serialize};

use super::Screening;
use super::refusal::Source;
use super::scope::{Kind, Scope};

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
