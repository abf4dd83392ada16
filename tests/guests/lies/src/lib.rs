//! Answers what cannot be, in the way that its mapping names.

use guest_kit::{
    Batch, Behaviour, Commands, Packed, Problem, Rejection, TablePlan, TableSchema, mapping, rows, submit, whole,
};

struct Lies;

impl Behaviour for Lies {
    fn define(schema: TableSchema) -> Result<TablePlan, Vec<Problem>> {
        let beyond = schema.columns.len() as u16;
        let plan = whole(&schema);
        Ok(match mapping() {
            "plan names a column beyond the table" => TablePlan { columns: vec![0, beyond], ..plan },
            "plan names a column twice" => TablePlan { columns: vec![0, 0], ..plan },
            "plan orders by a column beyond the table" => TablePlan { order_by: vec![beyond], ..plan },
            "plan orders by a column outside the key" => TablePlan { order_by: vec![0, 1], ..plan },
            "plan orders by the key" => TablePlan { order_by: vec![0], ..plan },
            "plan nonsense, but ignore" => {
                TablePlan { ignore: true, columns: vec![beyond], order_by: vec![beyond], ..plan }
            }
            _ => plan,
        })
    }

    fn write(batch: Batch) -> Result<Vec<Rejection>, String> {
        let beyond = rows(&batch);
        let rejection = |row| Rejection { row, reason: "a lie".to_owned() };
        match mapping() {
            "row beyond the batch" => lie(&[beyond], &[2], &[3, 9], 9),
            "rows fall" => lie(&[1, 0], &[1, 1], &[3, 6], 6),
            "rows fall between submits" => {
                lie(&[1], &[2], &[3, 9], 9);
                lie(&[0], &[2], &[3, 9], 9);
            }
            "fewer rows than commands" => lie(&[0], &[1, 1], &[3, 6], 6),
            "more arguments than values" => lie(&[0], &[3], &[3, 9], 9),
            "fewer arguments than values" => lie(&[0], &[1], &[3, 9], 9),
            "arguments that sum to more than 32 bits hold" => lie(&[0, 0], &[u32::MAX, 3], &[3, 9], 9),
            "a command without a name" => lie(&[0, 0], &[0, 2], &[3, 9], 9),
            "ends fall" => lie(&[0], &[2], &[9, 3], 9),
            "ends beyond the data" => lie(&[0], &[2], &[3, 10], 9),
            "data beyond the ends" => lie(&[0], &[2], &[3, 8], 9),
            "rejects a row beyond the batch" => return Ok(vec![rejection(beyond)]),
            "rejects a row twice" => return Ok(vec![rejection(0), rejection(0)]),
            "refuses the batch" => return Err("I would rather \u{1b}[31mnot".to_owned()),
            other => return Err(format!("no such lie: {other}")),
        }
        Ok(Vec::new())
    }
}

fn lie(rows: &[u32], arguments: &[u32], ends: &[u32], len: usize) {
    let data = b"DELuser:1-----"[..len].to_vec();
    let values = Packed { ends: ends.to_vec(), data };
    submit(&Commands { rows: rows.to_vec(), arguments: arguments.to_vec(), values });
}

guest_kit::export!(Lies);
