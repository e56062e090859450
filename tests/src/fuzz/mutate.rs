//! Making new inputs out of known ones without a fuzzer, for an ordinary test run.

/// Mutates inputs of a corpus. The same seed makes the same inputs.
#[derive(Debug)]
pub struct Mutator {
    corpus: Vec<Vec<u8>>,
    words: Vec<Vec<u8>>,
    state: u64,
}

/// Longer inputs are cut: what is long is tested elsewhere, and costs time here.
const LONGEST: usize = 3000;

impl Mutator {
    /// Starts from `corpus`, with `words` that are worth putting in.
    pub fn new(corpus: Vec<Vec<u8>>, words: Vec<Vec<u8>>, seed: u64) -> Self {
        assert!(!corpus.is_empty() && !words.is_empty());
        Self {
            corpus,
            words,
            state: seed.wrapping_mul(2).wrapping_add(1),
        }
    }

    /// Returns one more input: one of the corpus after one to eight changes.
    pub fn next_input(&mut self) -> Vec<u8> {
        let at = self.below(self.corpus.len());
        let mut input = self.corpus[at].clone();
        for _ in 0..1 << self.below(4) {
            self.change(&mut input);
        }
        input.truncate(LONGEST);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.below(input.len() + 1);
        let end = at + self.below(input.len() - at + 1).min(16);
        match self.below(8) {
            0 if at < input.len() => input[at] ^= 1 << self.below(8),
            1 if at < input.len() => input[at] = self.byte(),
            2 => drop(input.drain(at..end)),
            3 => {
                let byte = self.byte();
                input.insert(at, byte);
            }
            4 => {
                let again = input[at..end].repeat(1 + self.below(4));
                input.splice(at..at, again);
            }
            5 => {
                let other = self.below(self.corpus.len());
                let other = &self.corpus[other];
                let from = at.min(other.len());
                let tail = other[from..].to_vec();
                input.splice(at.., tail);
            }
            _ => {
                let word = self.below(self.words.len());
                let over = at..if self.below(2) == 0 { at } else { end };
                input.splice(over, self.words[word].clone());
            }
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the low byte is meant")]
    fn byte(&mut self) -> u8 {
        self.random() as u8
    }

    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap();
        usize::try_from(self.random() % bound).unwrap()
    }

    /// xorshift64*, whose high bits are good enough for this.
    fn random(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }
}

/// Reads a dictionary of libFuzzer: a word in quotes a line, with `\\`, `\"` and `\xAB`.
pub fn words(dictionary: &str) -> Vec<Vec<u8>> {
    let lines = dictionary.lines().map(str::trim);
    let quoted = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    quoted.map(word).collect()
}

fn word(line: &str) -> Vec<u8> {
    let inside = line
        .strip_prefix('"')
        .and_then(|line| line.strip_suffix('"'));
    let mut rest = inside.expect("a word stands in quotes").as_bytes();
    let mut word = Vec::new();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        word.push(match (first, after) {
            (b'\\', [b'x', high, low, after @ ..]) => {
                rest = after;
                let digits = [*high, *low];
                u8::from_str_radix(str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            (b'\\', [escaped, after @ ..]) => {
                rest = after;
                *escaped
            }
            (plain, _) => *plain,
        });
    }
    word
}
