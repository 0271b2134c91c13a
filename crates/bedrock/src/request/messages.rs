//! The conversation as Converse takes it: from the user on, turn by turn, every call answered.
//!
//! Callers' histories keep none of these rules, and a single block that breaks one would make the
//! conversation refused for ever. Invariants: first the user, then strictly in turn; no turn and no text
//! is blank; the results of a turn's calls stand in the next one, all of them, before anything else.

#![expect(clippy::wildcard_enum_match_arm, reason = "enums of the SDK have members to come")]

use std::collections::HashMap;

use aws_sdk_bedrockruntime::types::{
    CachePointBlock, ContentBlock, ConversationRole, Message, ReasoningContentBlock, ReasoningTextBlock,
    SystemContentBlock, ToolResultBlock, ToolResultContentBlock, ToolResultStatus, ToolUseBlock,
};
use causeway_dialect::chat::{self, Input, Part, Role, ToolCall, ToolResult};

use super::papers::{self, Paper, Papers};
use super::{Making, Unmapped, impossible, media};
use crate::document;
use crate::names::Ids;

/// What is said for a user who says nothing where somebody must.
const GO_ON: &str = "Continue.";
/// What is said for a result that never came.
const NO_RESULT: &str = "(no result was given)";

/// One side's turn.
struct Turn {
    role: ConversationRole,
    blocks: Vec<ContentBlock>,
    /// Calls of this turn that have no result yet: the caller's id, the name, the id that goes out.
    open: Vec<(String, String, String)>,
}

/// The conversation as far as it was read.
struct Turns {
    turns: Vec<Turn>,
    ids: Ids,
    papers: Papers,
    /// Calls and results are told as such, not as text.
    tools: bool,
}

/// The messages of a request that has some.
pub(super) fn messages_of(input: &Input) -> &[chat::Message] {
    match input {
        Input::Chat(messages) => messages,
        Input::Prompt(_) => &[],
    }
}

impl Making<'_> {
    /// System texts, and the turns. `tools`: calls and results may be told as such.
    pub(super) fn conversation(&mut self, tools: bool) -> Result<(Vec<SystemContentBlock>, Vec<Message>), Unmapped> {
        let mut system = Vec::new();
        let mut turns = Turns {
            turns: Vec::new(),
            ids: Ids::default(),
            papers: Papers::of(self.request, &self.target.family),
            tools,
        };
        match &self.request.input {
            Input::Prompt(prompt) => {
                system
                    .extend(prompt.system.clone().filter(|text| !text.trim().is_empty()).map(SystemContentBlock::Text));
                let images = prompt.images.iter().cloned().map(Part::Image);
                let parts: Vec<Part> = images.chain([Part::Text(prompt.text.clone())]).collect();
                self.say(&mut turns, Role::User, &parts)?;
            }
            Input::Chat(messages) => {
                for message in messages {
                    if message.role == Role::System && turns.turns.is_empty() {
                        self.lead(&message.parts, &mut system);
                    } else {
                        self.say(&mut turns, message.role, &message.parts)?;
                    }
                }
            }
        }
        if !self.target.family.system {
            // These read it before the first words of the user.
            let texts = std::mem::take(&mut system).into_iter();
            turns.begin_with(texts.filter_map(|block| block.as_text().ok().cloned()).collect());
        }
        // A begun answer leaves no room for thought, and is no JSON from its start.
        let free = !self.thinks.enabled && self.request.format == chat::Format::Text;
        Ok((system, turns.end(self.target.family.prefill && free)?))
    }

    /// What stands before all turns.
    fn lead(&mut self, parts: &[Part], system: &mut Vec<SystemContentBlock>) {
        for part in parts {
            match part {
                Part::Text(text) if text.trim().is_empty() => {}
                Part::Text(text) => system.push(SystemContentBlock::Text(text.clone())),
                Part::Document(document) => match document.as_text() {
                    Some(text) => system.push(SystemContentBlock::Text(text)),
                    None => self.lose("messages.documents"),
                },
                Part::CachePoint(time) => {
                    let point = self.point(*time).filter(|_| system.last().is_some_and(SystemContentBlock::is_text));
                    system.extend(point.map(SystemContentBlock::CachePoint));
                }
                Part::Image(_) => self.lose("messages.images"),
                Part::Thinking { .. } | Part::ToolCall(_) | Part::ToolResult(_) => {}
            }
        }
    }

    fn say(&mut self, turns: &mut Turns, role: Role, parts: &[Part]) -> Result<(), Unmapped> {
        let speaker = match role {
            // Later ones are told by the user: which models take them where they stand is not known.
            Role::System | Role::User | Role::Tool => ConversationRole::User,
            Role::Assistant => ConversationRole::Assistant,
            Role::Other(_) => return Err(Unmapped("`messages.role`: only a local model knows it".to_owned())),
        };
        for part in parts {
            match part {
                Part::Text(text) => turns.text(&speaker, text),
                Part::Image(image) if speaker == ConversationRole::User => turns.image(image)?,
                // Only users show pictures.
                Part::Image(_) => self.lose("messages.images"),
                Part::Document(document) if speaker == ConversationRole::User => turns.document(document)?,
                Part::Document(_) => self.lose("messages.documents"),
                Part::CachePoint(time) => turns.mark(&speaker, self.point(*time)),
                Part::Thinking { text, signature } => match signature {
                    Some(signature) if self.target.family.signs_thoughts() && self.thinks.enabled => {
                        turns.thought(text, signature)?;
                    }
                    // Without the seal of who thought it, it is refused: a local model gives none.
                    Some(_) | None => {}
                },
                Part::ToolCall(call) => {
                    let name = self.names.out(&call.name);
                    turns.call(call, name)?;
                }
                Part::ToolResult(result) => turns.result(result)?,
            }
        }
        Ok(())
    }
}

impl Turn {
    /// Puts words beside documents that have none, and lets no point stand behind another, where results
    /// were put before them.
    fn tidy(&mut self) {
        self.blocks.dedup_by(|later, earlier| later.is_cache_point() && earlier.is_cache_point());
        let last = self.blocks.iter().rposition(ContentBlock::is_document);
        if let Some(last) = last.filter(|_| !self.blocks.iter().any(ContentBlock::is_text)) {
            self.blocks.insert(last + 1, ContentBlock::Text(papers::BESIDE.to_owned()));
        }
    }
}

impl Turns {
    /// The blocks of this side's turn, which begins if the other one was on.
    fn turn(&mut self, role: &ConversationRole) -> &mut Turn {
        if self.turns.last().is_none_or(|turn| turn.role != *role) {
            self.turns.push(Turn { role: role.clone(), blocks: Vec::new(), open: Vec::new() });
        }
        let last = self.turns.len() - 1;
        &mut self.turns[last]
    }

    fn text(&mut self, role: &ConversationRole, text: &str) {
        if !text.trim().is_empty() {
            self.turn(role).blocks.push(ContentBlock::Text(text.to_owned()));
        }
    }

    fn image(&mut self, image: &chat::Image) -> Result<(), Unmapped> {
        let block = ContentBlock::Image(media::image(image)?);
        self.turn(&ConversationRole::User).blocks.push(block);
        Ok(())
    }

    fn document(&mut self, document: &chat::Document) -> Result<(), Unmapped> {
        match self.papers.tell(document)? {
            Paper::Document(block) => self.turn(&ConversationRole::User).blocks.push(ContentBlock::Document(*block)),
            Paper::Text(text) => self.text(&ConversationRole::User, &text),
        }
        Ok(())
    }

    /// A point behind what this side said last; thought is kept with what follows it only.
    fn mark(&mut self, role: &ConversationRole, point: Option<CachePointBlock>) {
        let last = self.turns.last_mut().filter(|turn| turn.role == *role);
        let Some((turn, point)) = last.zip(point) else { return };
        match turn.blocks.last() {
            None | Some(ContentBlock::CachePoint(_) | ContentBlock::ReasoningContent(_)) => {}
            Some(_) => turn.blocks.push(ContentBlock::CachePoint(point)),
        }
    }

    fn thought(&mut self, text: &str, signature: &str) -> Result<(), Unmapped> {
        let block = ReasoningTextBlock::builder().text(text).signature(signature).build().map_err(impossible)?;
        let block = ContentBlock::ReasoningContent(ReasoningContentBlock::ReasoningText(block));
        self.turn(&ConversationRole::Assistant).blocks.push(block);
        Ok(())
    }

    fn call(&mut self, call: &ToolCall, name: String) -> Result<(), Unmapped> {
        if !self.tools {
            let arguments = serde_json::to_string(&call.arguments).unwrap_or_default();
            self.text(&ConversationRole::Assistant, &format!("[called {} with {arguments}]", call.name));
            return Ok(());
        }
        let id = self.ids.out(&call.id);
        let input = document::object(&call.arguments);
        let block = ToolUseBlock::builder().tool_use_id(&id).name(name).input(input).build().map_err(impossible)?;
        let turn = self.turn(&ConversationRole::Assistant);
        turn.blocks.push(ContentBlock::ToolUse(block));
        turn.open.push((call.id.clone(), call.name.clone(), id));
        Ok(())
    }

    fn result(&mut self, result: &ToolResult) -> Result<(), Unmapped> {
        let Some(id) = self.answered(result) else {
            // Nobody asked for it: it is told as text, not lost.
            return self.loose_result(result);
        };
        let mut content = Vec::new();
        for part in &result.parts {
            match part {
                Part::Text(text) if text.trim().is_empty() => {}
                Part::Text(text) => content.push(ToolResultContentBlock::Text(text.clone())),
                Part::Image(image) => content.push(ToolResultContentBlock::Image(media::image(image)?)),
                Part::Document(document) => content.push(match self.papers.tell(document)? {
                    Paper::Document(block) => ToolResultContentBlock::Document(*block),
                    Paper::Text(text) => ToolResultContentBlock::Text(text),
                }),
                Part::CachePoint(_) | Part::Thinking { .. } | Part::ToolCall(_) | Part::ToolResult(_) => {}
            }
        }
        if content.is_empty() {
            content.push(ToolResultContentBlock::Text("(empty)".to_owned()));
        }
        let status = result.failed.then_some(ToolResultStatus::Error);
        let block = ToolResultBlock::builder().tool_use_id(id).set_content(Some(content)).set_status(status);
        let block = block.build().map_err(impossible)?;
        self.turn(&ConversationRole::User).blocks.push(ContentBlock::ToolResult(block));
        Ok(())
    }

    fn loose_result(&mut self, result: &ToolResult) -> Result<(), Unmapped> {
        let name = result.name.as_deref().unwrap_or("the function");
        let text: Vec<String> = texts(&result.parts).collect();
        self.text(&ConversationRole::User, &format!("[{name} gave: {}]", text.join("\n")));
        for part in &result.parts {
            match part {
                Part::Image(image) => self.image(image)?,
                Part::Document(document) => self.document(document)?,
                Part::Text(_)
                | Part::CachePoint(_)
                | Part::Thinking { .. }
                | Part::ToolCall(_)
                | Part::ToolResult(_) => {}
            }
        }
        Ok(())
    }

    /// The open call that a result is for: by its id, else the first of its name, else the first at all.
    fn answered(&mut self, result: &ToolResult) -> Option<String> {
        let asked = match self.turns.last() {
            Some(turn) if turn.role == ConversationRole::User => self.turns.len().checked_sub(2)?,
            Some(_) => self.turns.len() - 1,
            None => return None,
        };
        let open = &mut self.turns.get_mut(asked)?.open;
        let id = result.id.as_deref().filter(|id| !id.is_empty());
        let place = match (id, result.name.as_deref()) {
            (Some(id), _) => open.iter().position(|(given, _, _)| given == id)?,
            (None, Some(name)) => open.iter().position(|(_, called, _)| called == name).unwrap_or(0),
            (None, None) => 0,
        };
        (place < open.len()).then(|| open.remove(place).2)
    }

    /// Puts texts before the user's first words.
    fn begin_with(&mut self, texts: Vec<String>) {
        if texts.is_empty() {
            return;
        }
        if self.turns.first().is_none_or(|turn| turn.role != ConversationRole::User) {
            self.turns.insert(0, Turn { role: ConversationRole::User, blocks: Vec::new(), open: Vec::new() });
        }
        if let Some(first) = self.turns.first_mut() {
            first.blocks.splice(0..0, texts.into_iter().map(ContentBlock::Text));
        }
    }

    /// The messages, by all the rules.
    fn end(mut self, prefill: bool) -> Result<Vec<Message>, Unmapped> {
        self.answer_all()?;
        self.turns.iter_mut().for_each(Turn::tidy);
        let user = |text: &str| Turn {
            role: ConversationRole::User,
            blocks: vec![ContentBlock::Text(text.to_owned())],
            open: Vec::new(),
        };
        if self.turns.first().is_none_or(|turn| turn.role != ConversationRole::User) {
            self.turns.insert(0, user(GO_ON));
        }
        match self.turns.last_mut() {
            Some(last) if last.role == ConversationRole::Assistant && !prefill => self.turns.push(user(GO_ON)),
            // A begun answer may not end with a blank.
            Some(last) if last.role == ConversationRole::Assistant => {
                let said = last.blocks.iter_mut().rev().find(|block| !block.is_cache_point());
                if let Some(ContentBlock::Text(text)) = said {
                    text.truncate(text.trim_end().len());
                }
            }
            Some(_) | None => {}
        }
        let message = |turn: Turn| {
            let message = Message::builder().role(turn.role).set_content(Some(turn.blocks));
            message.build().map_err(impossible)
        };
        self.turns.into_iter().map(message).collect()
    }

    /// Gives every call a result, and puts a turn's results before what else it says.
    fn answer_all(&mut self) -> Result<(), Unmapped> {
        let mut at = 0;
        while at < self.turns.len() {
            let open = self.turns.get_mut(at).map(|turn| std::mem::take(&mut turn.open)).unwrap_or_default();
            at += 1;
            if open.is_empty() {
                continue;
            }
            if at == self.turns.len() {
                self.turns.push(Turn { role: ConversationRole::User, blocks: Vec::new(), open: Vec::new() });
            }
            for (_, _, id) in open {
                let missing = ToolResultBlock::builder()
                    .tool_use_id(id)
                    .content(ToolResultContentBlock::Text(NO_RESULT.to_owned()))
                    .status(ToolResultStatus::Error)
                    .build()
                    .map_err(impossible)?;
                if let Some(turn) = self.turns.get_mut(at) {
                    turn.blocks.push(ContentBlock::ToolResult(missing));
                }
            }
        }
        for pair in 1..self.turns.len() {
            let order = calls_of(self.turns.get(pair - 1));
            if let Some(turn) = self.turns.get_mut(pair) {
                // Stable: what is no result keeps its order behind them.
                turn.blocks.sort_by_key(|block| match block {
                    ContentBlock::ToolResult(result) => order.get(result.tool_use_id()).copied().unwrap_or(0),
                    _ => usize::MAX,
                });
            }
        }
        Ok(())
    }
}

/// The places of a turn's calls.
fn calls_of(turn: Option<&Turn>) -> HashMap<String, usize> {
    let blocks = turn.map(|turn| turn.blocks.as_slice()).unwrap_or_default();
    let calls = blocks.iter().filter_map(|block| block.as_tool_use().ok());
    calls.enumerate().map(|(place, call)| (call.tool_use_id().to_owned(), place)).collect()
}

fn texts(parts: &[Part]) -> impl Iterator<Item = String> {
    parts.iter().filter_map(|part| match part {
        Part::Text(text) if !text.trim().is_empty() => Some(text.clone()),
        Part::Text(_)
        | Part::Image(_)
        | Part::Document(_)
        | Part::CachePoint(_)
        | Part::Thinking { .. }
        | Part::ToolCall(_)
        | Part::ToolResult(_) => None,
    })
}
