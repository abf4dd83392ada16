//! Submits what its mapping says, whatever the batch: a line for each command, `ROW COMMAND ARGUMENT…`. A line `ROW reject` rejects the row.

use guest_kit::{Batch, Behaviour, Rejection, mapping, packed, submit};

struct Scripted;

impl Behaviour for Scripted {
    fn write(_batch: Batch) -> Result<Vec<Rejection>, String> {
        let mut rejections = Vec::new();
        for line in mapping().lines() {
            let mut words = line.split(' ');
            let row = words.next().and_then(|word| word.parse().ok()).ok_or("a line begins with its row")?;
            let arguments: Vec<&[u8]> = words.map(str::as_bytes).collect();
            match arguments.as_slice() {
                [b"reject"] => rejections.push(Rejection { row, reason: "as the script says".to_owned() }),
                arguments => submit(&packed(&[(row, arguments)])),
            }
        }
        Ok(rejections)
    }
}

guest_kit::export!(Scripted);
