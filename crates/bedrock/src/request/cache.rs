//! Cache marks as Converse takes them.
//!
//! Invariants: at most four points; an hour never stands behind five minutes; none stands first, or right
//! behind another. Absent: how long a prompt must be to be kept at all, which the service sees to.

use aws_sdk_bedrockruntime::types::{
    CachePointBlock, CachePointType, CacheTtl, ContentBlock, Message, SystemContentBlock, Tool, ToolConfiguration,
};
use causeway_dialect::chat::CacheTime;

use super::Making;
use crate::family::Caching;

/// Most points of one request (https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html).
const MOST: usize = 4;

/// What tokens cost beyond others, percent, that are written to a cache for five minutes and for an hour
/// (https://docs.claude.com/en/docs/build-with-claude/prompt-caching, "Pricing"). Nova asks for nothing more: it
/// is booked somewhat too high.
const SURCHARGE: u64 = 25;
const HOUR_SURCHARGE: u64 = 100;

impl Making<'_> {
    /// The point for a mark in system or messages; none where the family takes none there.
    pub(super) fn point(&mut self, time: CacheTime) -> Option<CachePointBlock> {
        if self.target.family.cache == Caching::Never {
            self.lose("cache_control");
            return None;
        }
        let hour = time == CacheTime::Hour && self.target.family.cache == Caching::Hour;
        let point =
            CachePointBlock::builder().r#type(CachePointType::Default).set_ttl(hour.then_some(CacheTtl::OneHour));
        // Its only required member is set.
        point.build().ok()
    }

    /// The same among the tools.
    pub(super) fn tool_point(&mut self, time: CacheTime) -> Option<CachePointBlock> {
        if self.target.family.cache == Caching::Prompt {
            self.lose("cache_control");
            return None;
        }
        self.point(time)
    }

    /// Keeps the last points, in the order in which the model reads: each holds all that stands before
    /// it, so that the earlier ones are what later ones can do without. What they add to the price of what is
    /// written, percent.
    pub(super) fn bound_points(
        &mut self,
        tools: Option<&mut ToolConfiguration>,
        system: &mut Vec<SystemContentBlock>,
        messages: &mut [Message],
    ) -> u64 {
        let mut no_tools = Vec::new();
        let tools = tools.map_or(&mut no_tools, |config| &mut config.tools);
        let of_messages = messages.iter().flat_map(|message| &message.content).filter(|block| block.is_cache_point());
        let of_system = system.iter().filter(|block| block.is_cache_point());
        let of_tools = tools.iter().filter(|tool| tool.is_cache_point());
        let mut over = (of_messages.count() + of_system.count() + of_tools.count()).saturating_sub(MOST);
        self.lose_if(over > 0, "cache_control");
        let (mut short, mut surcharge) = (false, 0);
        let mut keep = |point: &mut CachePointBlock| {
            if over > 0 {
                over -= 1;
                return false;
            }
            short |= point.ttl.is_none();
            point.ttl = point.ttl.take().filter(|_| !short);
            surcharge = surcharge.max(if point.ttl.is_some() { HOUR_SURCHARGE } else { SURCHARGE });
            true
        };
        tools.retain_mut(|tool| if let Tool::CachePoint(point) = tool { keep(point) } else { true });
        system.retain_mut(|block| if let SystemContentBlock::CachePoint(point) = block { keep(point) } else { true });
        for message in messages {
            message
                .content
                .retain_mut(|block| if let ContentBlock::CachePoint(point) = block { keep(point) } else { true });
        }
        surcharge
    }
}
