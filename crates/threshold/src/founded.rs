//! Keepers that have made their first key, as tests need them.

use wire::CircleId;

use crate::{Board, Committee, Keeper, Phase, Post, Task, Verdict};

/// `count` keepers of `circle`, with a key of the first round.
pub(crate) fn keepers(circle: CircleId, count: u8) -> (Committee, Vec<Keeper>) {
    let mut keepers: Vec<Keeper> = (1..=count).map(|seed| Keeper::new([seed; 32])).collect();
    let invited = keepers.iter().map(Keeper::key).collect();
    let mut board = Board::new(Task::first(circle, 1, None, invited)).unwrap();
    while board.phase() != Phase::Closed {
        for (index, keeper) in keepers.iter_mut().enumerate() {
            match keeper.act(&board, [index as u8; 32]).unwrap().unwrap() {
                Post::Join(join) => board.join(keeper.key(), join),
                Post::Deal(dealing) => board.deal(keeper.key(), dealing),
                Post::Answer(answer) => board.answer(keeper.key(), answer),
            }
            .unwrap();
        }
        board.close_phase();
    }
    let Some(Verdict::Done(conclusion)) = board.verdict() else {
        panic!("no key");
    };
    for keeper in &mut keepers {
        keeper.settle(&board).unwrap();
    }
    (conclusion.committee, keepers)
}
