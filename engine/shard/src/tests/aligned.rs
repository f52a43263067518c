use model::limits::BLOCK_BYTES;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::aligned::AlignedBuffer;

#[derive(Debug, Clone)]
enum Step {
    Extend(Vec<u8>),
    Pad(usize),
    Reserve(usize),
    Truncate(usize),
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => vec(any::<u8>(), 0..3 * BLOCK_BYTES).prop_map(Step::Extend),
        2 => prop_oneof![Just(8), Just(512), Just(BLOCK_BYTES)].prop_map(Step::Pad),
        1 => (0..4 * BLOCK_BYTES).prop_map(Step::Reserve),
        1 => any::<usize>().prop_map(Step::Truncate),
        1 => Just(Step::Clear),
    ]
}

fn check(buffer: &AlignedBuffer, want: &[u8]) {
    assert_eq!(buffer.as_slice(), want);
    assert_eq!(buffer.len(), want.len());
    assert_eq!(buffer.is_empty(), want.is_empty());
    assert!(buffer.len() <= buffer.capacity());
    assert!(buffer.as_slice().as_ptr().addr().is_multiple_of(BLOCK_BYTES));
}

proptest! {
    /// The buffer holds what a vector would, on a block boundary, whatever is done to it.
    #[test]
    fn behaves_like_an_aligned_vector(
        capacity in 0..2 * BLOCK_BYTES,
        steps in vec(step(), 0..24),
    ) {
        let mut buffer = AlignedBuffer::with_capacity(capacity);
        let mut want = Vec::new();
        check(&buffer, &want);
        for step in steps {
            match step {
                Step::Extend(more) => {
                    buffer.extend_from_slice(&more);
                    want.extend_from_slice(&more);
                }
                Step::Pad(unit) => {
                    buffer.pad_to(unit);
                    want.resize(want.len().next_multiple_of(unit), 0);
                }
                Step::Reserve(more) => {
                    buffer.reserve(more);
                    prop_assert!(want.len() + more <= buffer.capacity());
                }
                Step::Truncate(len) => {
                    let len = len % (want.len() + 1);
                    buffer.truncate(len);
                    want.truncate(len);
                }
                Step::Clear => {
                    buffer.clear();
                    want.clear();
                }
            }
            check(&buffer, &want);
        }
    }
}

#[test]
fn zeroed_holds_zeros_and_room_is_kept() {
    let mut buffer = AlignedBuffer::zeroed(BLOCK_BYTES + 1);
    check(&buffer, &vec![0; BLOCK_BYTES + 1]);
    buffer.as_mut_slice().fill(7);
    let capacity = buffer.capacity();
    buffer.clear();
    assert_eq!(buffer.capacity(), capacity);
    buffer.pad_to(BLOCK_BYTES);
    buffer.extend_from_slice(&[1]);
    buffer.pad_to(BLOCK_BYTES);
    assert_eq!(buffer.as_slice()[0], 1);
    assert!(buffer.as_slice()[1..].iter().all(|byte| *byte == 0), "old bytes are padded over");
}
