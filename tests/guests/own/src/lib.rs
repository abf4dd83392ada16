//! Prices of the products that are on sale, and of no others.

use mysync_writer_sdk::{Commands, Place, Plan, Problem, Row, Settings, Writer};

struct Prices;

struct Columns {
    sku: Place,
    price: Place,
    on_sale: Place,
}

impl Writer for Prices {
    type Table = Columns;

    fn configure(_settings: &Settings) -> Result<Self, Vec<Problem>> {
        Ok(Self)
    }

    fn table(&self, plan: &mut Plan<'_>) -> Result<Option<Columns>, Vec<Problem>> {
        let [sku, price, on_sale] = ["sku", "price", "on_sale"].map(|column| plan.required(column));
        Ok(Some(Columns { sku: sku?, price: price?, on_sale: on_sale? }))
    }

    fn row(&self, at: &Columns, row: &Row<'_>, out: &mut Commands) -> Result<(), String> {
        if let Some(old) = row.removed() {
            out.del(("price:", old.get(at.sku)));
        }
        if let Some(new) = row.written() {
            match new.get(at.on_sale).as_i64() {
                Some(1) => out.set(("price:", new.get(at.sku)), new.get(at.price)),
                _ => out.del(("price:", new.get(at.sku))),
            }
        }
        Ok(())
    }
}

mysync_writer_sdk::export!(Prices);
