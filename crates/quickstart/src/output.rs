//! What a person reads: the start, one line a request, complaints.
//!
//! Invariants: no colours needed; a closed terminal ends nothing.

use std::io::Write;
use std::process::ExitCode;

/// What the start prints once requests can be answered.
pub(crate) struct Banner<'a> {
    pub(crate) url: &'a str,
    pub(crate) api_key: &'a str,
    pub(crate) status_url: &'a str,
    pub(crate) model: &'a str,
    pub(crate) backend: &'a str,
}

/// A line on standard output.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // Nothing can be done about a closed terminal.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// A line on standard error.
pub(crate) fn complain(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Says why quickstart cannot go on.
pub(crate) fn failure(error: &anyhow::Error) -> ExitCode {
    complain(&format!("quickstart: {error:#}"));
    ExitCode::FAILURE
}

/// The addresses and three commands to paste.
pub(crate) fn banner(banner: &Banner<'_>) {
    let Banner { url, api_key, status_url, model, backend } = banner;
    say(&format!(
        r#"
Causeway is up.

  endpoint   {url}
  API key    {api_key}
  status     {status_url}
  model      {model}  ({backend})
  budget: unlimited

Try it:

  curl {url}/api/chat -H "Authorization: Bearer {api_key}" -d '{{"model":"{model}","messages":[{{"role":"user","content":"Say hello."}}]}}'

  python3 -c 'from ollama import Client; print(Client(host="{url}", headers={{"Authorization": "Bearer {api_key}"}}).chat(model="{model}", messages=[{{"role": "user", "content": "Say hello."}}])["message"]["content"])'

  python3 -c 'from openai import OpenAI; print(OpenAI(base_url="{url}/v1", api_key="{api_key}").chat.completions.create(model="{model}", messages=[{{"role": "user", "content": "Say hello."}}]).choices[0].message.content)'

Ctrl-C drains and ends. Requests:"#
    ));
}
