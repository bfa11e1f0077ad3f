//! Damage.

/// SplitMix64 (Steele, Lea and Flood 2014).
pub struct Random(u64);

impl Random {
    /// The generator of one round: rounds can be repeated singly.
    pub fn new(seed: u64, round: u64) -> Random {
        Random(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ round.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, 0 when `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next_u64() % n.max(1) as u64).unwrap_or_default()
    }
}

/// Values that sizes, offsets and counts break at.
const EDGES: [u64; 16] = [
    0,
    1,
    2,
    7,
    0x7f,
    0x80,
    0xff,
    0xfff,
    0x1000,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1 << 40,
    u64::MAX >> 1,
    u64::MAX,
];

/// Damages `bytes` in one to eight places. Headers, being what parsers trust, are hit more often than their share.
pub fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..1 + random.below(8) {
        if bytes.is_empty() {
            bytes.push(0);
        }
        let len = bytes.len();
        let at = if random.below(2) == 0 { random.below(len.min(512)) } else { random.below(len) };
        match random.below(10) {
            0 => bytes.truncate(at),
            1 => {
                // A block again, somewhere else.
                let block = bytes.get(at..(at + random.below(200)).min(len)).unwrap_or_default().to_vec();
                let to = random.below(len);
                bytes.splice(to..to, block);
            }
            2 => {
                let end = (at + random.below(200)).min(len);
                bytes.drain(at..end);
            }
            3 | 4 => {
                // An edge value in an aligned field of 1, 2, 4 or 8 bytes.
                let width = 1 << random.below(4);
                let at = at - at % width;
                let value = EDGES.get(random.below(EDGES.len())).copied().unwrap_or_default().to_le_bytes();
                for (to, from) in bytes.iter_mut().skip(at).take(width).zip(value) {
                    *to = from;
                }
            }
            5 => {
                let noise = random.next_u64().to_le_bytes();
                for (to, from) in bytes.iter_mut().skip(at).zip(noise) {
                    *to = from;
                }
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_round_does_the_same_damage_and_does_some() {
        let good: Vec<u8> = (0..=255).collect();
        let mut different = 0;
        for round in 0..100 {
            let (mut a, mut b) = (good.clone(), good.clone());
            damage(&mut a, &mut Random::new(1, round));
            damage(&mut b, &mut Random::new(1, round));
            assert_eq!(a, b);
            different += usize::from(a != good);
        }
        assert!(different > 90);
        damage(&mut Vec::new(), &mut Random::new(1, 1));
    }
}
