//! The arguments of `coroner serve`.

use clap::Args;

/// Serve the desk: the page and the API that show experiments and take reports of them.
///
/// Listens on this machine alone, unless told otherwise. SIGINT and SIGTERM end it: what is being answered is
/// finished first.
///
/// Where a collector of OpenTelemetry is named (telemetry.endpoint, or the variable OTEL_EXPORTER_OTLP_ENDPOINT), traces go there.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit status:
  0  ended as asked
  2  wrong use, or an address that can't be listened on
  3  the store failed

Example:
  coroner serve --listen 127.0.0.1:8080")]
pub(crate) struct ServeArgs {
    /// Address and port, instead of serve.listen; port 0 is any that is free.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<String>,
    /// Ask nobody who they are, even beyond loopback: whoever reaches the port may read, report and change everything.
    #[arg(long)]
    pub(crate) no_auth: bool,
    /// Never ask a language model.
    #[arg(long)]
    pub(crate) offline: bool,
}

/// Serve the desk as a function of AWS Lambda: requests of API Gateway and function URLs are answered as by `coroner serve`.
///
/// Lambda starts it. Everybody is asked who they are. What a desk does all the time is done when a timer sends
/// {"coroner": "upkeep"} (alerts; reported runs that fell silent) and {"coroner": "prune"} (retention); docs/deploy.md has the template.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit status:
  2  not started by Lambda
  3  the store failed, or Lambda's runtime can't be reached

Example (the function's `bootstrap`):
  coroner lambda")]
pub(crate) struct LambdaArgs {}
