//! Functions that the model may call, and the one that writes JSON where it cannot by itself.

use aws_sdk_bedrockruntime::types::{
    AnyToolChoice, AutoToolChoice, SpecificToolChoice, Tool, ToolChoice, ToolConfiguration, ToolInputSchema,
    ToolSpecification,
};
use causeway_dialect::chat::{self, Format};
use serde_json::{Value, json};

use super::{Making, Unmapped, impossible};
use crate::document;
use crate::family::Tools;

/// The function whose arguments are the answer.
const ANSWER: &str = "answer";

/// What was made of the tools.
pub(super) struct Offer {
    pub(super) config: Option<ToolConfiguration>,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// None are told, and so no call in the history may be one.
    Silent,
    /// As the model likes.
    Free,
    /// One must be called.
    Forced,
    /// Its arguments are the answer's text.
    Writes,
}

impl Offer {
    /// Calls and results of the history can be told as such.
    pub(super) fn are_told(&self) -> bool {
        matches!(self.kind, Kind::Free | Kind::Forced)
    }

    pub(super) fn is_forced(&self) -> bool {
        matches!(self.kind, Kind::Forced | Kind::Writes)
    }

    pub(super) fn writes_text(&self) -> bool {
        self.kind == Kind::Writes
    }
}

impl Making<'_> {
    pub(super) fn tools(&mut self) -> Result<Offer, Unmapped> {
        let family = &self.target.family;
        let wants_json = match &self.request.format {
            Format::Text => None,
            Format::Schema { .. } if family.schema => None,
            Format::Schema { schema, .. } => Some(schema.clone()),
            Format::Json => Some(json!({ "type": "object" })),
        };
        if let Some(schema) = wants_json {
            return self.writer(&schema);
        }
        // There is no choice "none": what must not be called is not told.
        if self.request.tools.is_empty() || self.request.tool_choice == chat::ToolChoice::None {
            return Ok(Offer { config: None, kind: Kind::Silent });
        }
        let tools: Vec<Tool> = self.specs()?;
        let (choice, kind) = self.choice()?;
        let config = ToolConfiguration::builder().set_tools(Some(tools)).set_tool_choice(choice).build();
        Ok(Offer { config: Some(config.map_err(impossible)?), kind })
    }

    /// One function that must be called and whose arguments are the answer.
    fn writer(&mut self, schema: &Value) -> Result<Offer, Unmapped> {
        let tool = chat::Tool {
            name: ANSWER.to_owned(),
            description: Some("The answer, in the form that was asked for.".to_owned()),
            parameters: schema.clone(),
            cache: None,
        };
        let spec = self.spec(&tool)?;
        let choice = self.force(ANSWER)?;
        let config = ToolConfiguration::builder().tools(spec).tool_choice(choice).build().map_err(impossible)?;
        Ok(Offer { config: Some(config), kind: Kind::Writes })
    }

    /// Of functions with the same name the first.
    fn specs(&mut self) -> Result<Vec<Tool>, Unmapped> {
        let mut seen: Vec<&str> = Vec::new();
        let mut specs = Vec::new();
        for tool in &self.request.tools {
            if seen.contains(&tool.name.as_str()) {
                self.lose("tools");
                continue;
            }
            seen.push(&tool.name);
            specs.push(self.spec(tool)?);
            specs.extend(tool.cache.and_then(|time| self.tool_point(time)).map(Tool::CachePoint));
        }
        Ok(specs)
    }

    fn spec(&mut self, tool: &chat::Tool) -> Result<Tool, Unmapped> {
        let schema = ToolInputSchema::Json(document::object(&schema(&tool.parameters)));
        let spec = ToolSpecification::builder()
            .name(self.names.out(&tool.name))
            .set_description(tool.description.clone().filter(|text| !text.trim().is_empty()))
            .input_schema(schema)
            .build()
            .map_err(impossible)?;
        Ok(Tool::ToolSpec(spec))
    }

    fn choice(&mut self) -> Result<(Option<ToolChoice>, Kind), Unmapped> {
        let able = self.target.family.tools;
        Ok(match &self.request.tool_choice {
            // Models that cannot be made to call often take no choice at all.
            chat::ToolChoice::Auto | chat::ToolChoice::None => {
                let auto = self.target.family.can_force_a_tool();
                (auto.then(|| ToolChoice::Auto(AutoToolChoice::builder().build())), Kind::Free)
            }
            chat::ToolChoice::Required if self.target.family.can_force_a_tool() => {
                (Some(ToolChoice::Any(AnyToolChoice::builder().build())), Kind::Forced)
            }
            chat::ToolChoice::Named(name) if able == Tools::Named => {
                let name = name.clone();
                (Some(self.force(&name)?), Kind::Forced)
            }
            chat::ToolChoice::Required | chat::ToolChoice::Named(_) => {
                self.lose("tool_choice");
                (None, Kind::Free)
            }
        })
    }

    /// The named function, or where the model takes no names any: there is only one then.
    fn force(&mut self, name: &str) -> Result<ToolChoice, Unmapped> {
        if self.target.family.tools != Tools::Named {
            return Ok(ToolChoice::Any(AnyToolChoice::builder().build()));
        }
        let choice = SpecificToolChoice::builder().name(self.names.out(name)).build().map_err(impossible)?;
        Ok(ToolChoice::Tool(choice))
    }
}

/// A schema must be one of an object.
fn schema(parameters: &Value) -> serde_json::Map<String, Value> {
    let mut schema = parameters.as_object().cloned().unwrap_or_default();
    schema.insert("type".to_owned(), "object".into());
    schema.entry("properties").or_insert_with(|| json!({}));
    schema
}
