//! How long prompts and answers are.
//!
//! Chat and tool calls are drawn from a published trace; long generations are assumed. Absent:
//! when they come (`arrivals.rs`) and how much of each kind (`scenario.rs`).

use crate::draw::Draw;

/// What a request is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A person's turn in a conversation.
    Chat,
    /// One step of an agent: a long prompt, a short call of a tool.
    Tool,
    /// An essay, a file of code.
    Long,
}

/// Prompt and answer in tokens.
type Pair = (u16, u16);

/// 120 requests in a row from the middle of `AzureLLMInferenceTrace_conv.csv`, 2023-11-16 18:41:12 on:
/// context and generated tokens. Azure LLM inference trace 2023, CC BY; described in Patel et al.,
/// "Splitwise: Efficient generative LLM inference using phase splitting", ISCA 2024.
#[rustfmt::skip]
const CHAT: [Pair; 120] = [
    (4088, 67), (2681, 54), (422, 96), (4098, 40), (1067, 397), (1834, 43), (4082, 30), (373, 62), (1203, 45), (397, 92),
    (379, 53), (2002, 77), (384, 80), (372, 60), (4074, 45), (1135, 370), (1313, 177), (1313, 191), (181, 244), (434, 82),
    (415, 88), (380, 115), (1003, 501), (1076, 414), (4084, 86), (1135, 409), (366, 92), (372, 72), (408, 115), (128, 205),
    (385, 88), (4087, 119), (1049, 534), (1168, 414), (951, 429), (1134, 394), (1209, 598), (397, 86), (181, 109), (1234, 421),
    (1171, 395), (372, 75), (935, 85), (1284, 57), (405, 94), (401, 107), (449, 83), (421, 99), (1888, 92), (418, 108),
    (4076, 246), (1371, 72), (1577, 79), (396, 89), (20, 142), (409, 112), (1127, 379), (1053, 427), (1165, 387), (411, 102),
    (957, 411), (396, 132), (388, 96), (4104, 49), (396, 72), (4078, 137), (2616, 69), (395, 103), (393, 100), (4081, 67),
    (181, 154), (1018, 471), (1073, 72), (4145, 47), (379, 95), (371, 47), (1148, 430), (1010, 400), (317, 18), (3018, 79),
    (4093, 50), (4079, 30), (1044, 456), (378, 66), (394, 91), (880, 415), (403, 94), (1187, 450), (209, 174), (4090, 134),
    (1159, 398), (413, 90), (386, 101), (1194, 428), (4089, 154), (1003, 454), (1076, 414), (4086, 69), (1992, 108), (1121, 428),
    (120, 12), (1182, 595), (2491, 44), (407, 108), (1503, 107), (1266, 405), (4110, 174), (1168, 414), (391, 101), (4142, 75),
    (381, 73), (2218, 47), (2234, 33), (882, 394), (1094, 31), (4088, 64), (1239, 428), (1314, 199), (459, 105), (4118, 239),
];

/// 120 requests in a row from `AzureLLMInferenceTrace_code.csv` of the same data set, 2023-11-16
/// 18:32:24 on. Completions of code: as an agent's steps, long prompts and answers of a few tokens.
#[rustfmt::skip]
const TOOL: [Pair; 120] = [
    (1865, 12), (2385, 23), (1740, 14), (950, 22), (2345, 13), (2687, 23), (1865, 14), (1693, 6), (2039, 7), (1740, 7),
    (2603, 6), (2087, 13), (2361, 8), (1473, 10), (688, 28), (992, 12), (4420, 20), (840, 16), (719, 10), (1986, 6),
    (2088, 13), (2563, 6), (2687, 54), (104, 76), (1064, 10), (244, 16), (1792, 6), (15, 21), (228, 11), (720, 8),
    (1105, 25), (1609, 15), (132, 37), (244, 6), (2689, 13), (103, 74), (4820, 39), (1834, 25), (1793, 10), (2189, 9),
    (941, 9), (189, 109), (720, 9), (2363, 6), (1697, 11), (690, 17), (2091, 10), (106, 7), (492, 8), (692, 11),
    (2418, 27), (992, 25), (1108, 6), (250, 15), (2924, 7), (3712, 12), (944, 20), (800, 15), (693, 13), (1742, 12),
    (1675, 20), (106, 7), (1688, 10), (3224, 45), (1295, 10), (694, 18), (3380, 29), (1742, 9), (1934, 15), (1181, 9),
    (2389, 15), (694, 13), (3909, 928), (172, 15), (994, 19), (7428, 13), (4207, 14), (1183, 9), (7428, 7), (1743, 10),
    (2195, 6), (4209, 7), (2947, 7), (245, 77), (360, 9), (1679, 6), (1002, 9), (2673, 18), (1185, 14), (1062, 10),
    (1679, 9), (952, 10), (7423, 17), (699, 11), (3380, 9), (50, 9), (1060, 10), (699, 6), (953, 17), (699, 15),
    (469, 7), (2539, 16), (50, 9), (699, 25), (539, 15), (3227, 45), (1060, 9), (3058, 246), (369, 43), (616, 134),
    (799, 9), (227, 6), (2398, 11), (235, 8), (2951, 11), (799, 11), (698, 25), (2539, 10), (1942, 45), (3384, 9),
];

/// Long generations, assumed: prompts of 100 to 1000 tokens, answers log-normal, cut where callers
/// set their limit.
const LONG_PROMPT: (f64, f64) = (100.0, 1_000.0);
const LONG_MEDIAN: f64 = 1_200.0;
const LONG_SIGMA: f64 = 0.5;
const LONG_CAP: f64 = 4_096.0;
/// Each row of the trace stands for lengths this share around it.
const AROUND: f64 = 0.1;

impl Kind {
    /// Prompt and answer of one request, in tokens.
    pub(crate) fn lengths(self, draw: &mut Draw) -> (u32, u32) {
        let table = match self {
            Kind::Chat => &CHAT,
            Kind::Tool => &TOOL,
            Kind::Long => {
                let prompt = draw.between(LONG_PROMPT.0, LONG_PROMPT.1);
                return (tokens(prompt), tokens(draw.log_normal(LONG_MEDIAN, LONG_SIGMA).min(LONG_CAP)));
            }
        };
        let (prompt, answer) = table[draw.word() as usize % table.len()];
        let mut around = |tokens: u16| f64::from(tokens) * draw.between(1.0 - AROUND, 1.0 + AROUND);
        (tokens(around(prompt)), tokens(around(answer)))
    }

    /// The means of [`Kind::lengths`].
    pub(crate) fn means(self) -> (f64, f64) {
        let table = match self {
            Kind::Chat => &CHAT,
            Kind::Tool => &TOOL,
            Kind::Long => {
                let mean = LONG_MEDIAN * (LONG_SIGMA * LONG_SIGMA / 2.0).exp();
                return ((LONG_PROMPT.0 + LONG_PROMPT.1) / 2.0, mean);
            }
        };
        let count = table.len() as f64;
        let sum = |of: fn(&Pair) -> u16| table.iter().map(|pair| f64::from(of(pair))).sum::<f64>();
        (sum(|pair| pair.0) / count, sum(|pair| pair.1) / count)
    }
}

fn tokens(count: f64) -> u32 {
    (count.round() as u32).max(1)
}
