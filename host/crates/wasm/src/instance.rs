//! One running writer.
//!
//! The store is in hand only during a call, and comes back only if the call ended well. A trap, a limit, a nonsensical answer, or a future
//! that was dropped half-way all end the instance.

use std::collections::HashMap;
use std::sync::Arc;

use mysync_change::batch::{Batch, Plan};
use mysync_change::schema::TableShape;
use mysync_pipeline::failure::Failure;
use mysync_pipeline::ports::{Mapped, Rejection, Writer};
use wasmtime::{Store, UpdateDeadline};

use crate::bindings::{self, RedisWriter, Settings};
use crate::collect::Collected;
use crate::diagnostics::{Diagnostics, printable};
use crate::engine::{INSTANCES_MAX, TICK};
use crate::error::{Problem, Stop, WasmError};
use crate::limits::Ceiling;
use crate::plugin::Terms;

/// Problems of one answer that are shown, and the length of each text of a guest that is shown: what fits on a screen.
const PROBLEMS_MAX: usize = 20;
const REASON_BYTES_MAX: usize = 1024;
const CALL_CONFIGURE: &str = "configure";
const CALL_DEFINE: &str = "define-table";
const CALL_WRITE: &str = "write";

/// What the host keeps for an instance.
pub(crate) struct State {
    pub collected: Collected,
    pub diagnostics: Diagnostics,
    ceiling: Ceiling,
    ticks_left: u64,
}

struct Running {
    store: Store<State>,
    writer: RedisWriter,
}

/// A configured writer. After an error it answers nothing any more: start another.
pub struct Instance {
    terms: Arc<Terms>,
    running: Option<Running>,
    /// The id by which the writer knows a table; `None` for one that it ignores.
    tables: HashMap<(String, String), Option<u32>>,
}

impl Instance {
    pub(crate) async fn start(terms: Arc<Terms>) -> Result<Self, WasmError> {
        let limits = &terms.limits;
        let state = State {
            collected: Collected::default(),
            diagnostics: Diagnostics::new(terms.name.clone(), limits),
            ceiling: Ceiling { memory_bytes: limits.memory_bytes },
            ticks_left: 0,
        };
        let pre = &terms.component.pre;
        let mut store = Store::new(pre.engine(), state);
        store.limiter(|state| &mut state.ceiling);
        store.set_hostcall_fuel(limits.output_bytes);
        // Each tick another task gets the thread, and the guest comes nearer to its end.
        store.epoch_deadline_callback(|mut store| {
            let state = store.data_mut();
            state.ticks_left = state.ticks_left.checked_sub(1).ok_or(Stop::Deadline)?;
            // Tokio's own way to yield: any other would be scheduled again before connections are looked at.
            Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
        });
        arm(&mut store, &terms);
        let writer = pre.instantiate_async(&mut store).await.map_err(|error| start_failed(&error, &terms))?;

        let mut instance = Self { terms, running: None, tables: HashMap::new() };
        let mut running = Running { store, writer };
        let settings = Settings { mapping: instance.terms.mapping.clone(), values: Vec::new() };
        arm(&mut running.store, &instance.terms);
        let answer = running.writer.mysync_writer_writer().call_configure(&mut running.store, &settings).await;
        match instance.settle(running, CALL_CONFIGURE, answer)? {
            Ok(()) => Ok(instance),
            Err(problems) => {
                Err(WasmError::Mapping { writer: instance.terms.name.to_string(), problems: shown(problems) })
            }
        }
    }

    async fn define(&mut self, id: u32, shape: &TableShape) -> Result<Plan, WasmError> {
        let mut running = self.take()?;
        let schema = bindings::schema(id, shape);
        let answer = running.writer.mysync_writer_writer().call_define_table(&mut running.store, &schema).await;
        let plan = match self.settle(running, CALL_DEFINE, answer)? {
            Ok(plan) => self.plan(shape, plan.into())?,
            Err(problems) => {
                let (writer, table) = (self.terms.name.to_string(), shape.full_name());
                return Err(WasmError::Table { writer, table, problems: shown(problems) });
            }
        };
        self.tables.insert((shape.database.clone(), shape.name.clone()), (!plan.ignore).then_some(id));
        Ok(plan)
    }

    async fn write(&mut self, batch: Batch) -> Result<Mapped, WasmError> {
        let mut running = self.take()?;
        let rows = batch.tables.iter().map(|table| table.numbers.len()).sum::<usize>() + batch.events.len();
        running.store.data_mut().collected.start(rows as u32, self.terms.limits.output_bytes);
        let batch = bindings::batch(batch, |database, table| {
            let known = self.tables.iter().filter(|((of, name), _)| of == database && (name == table || table == "*"));
            known.filter_map(|(_, id)| *id).collect()
        });
        let answer = running.writer.mysync_writer_writer().call_write(&mut running.store, &batch).await;
        let commands = running.store.data_mut().collected.finish();
        let rejections = match self.settle(running, CALL_WRITE, answer)? {
            Ok(rejections) => self.rejections(rejections, rows)?,
            Err(reason) => {
                let (writer, reason) = (self.terms.name.to_string(), printable(&reason, REASON_BYTES_MAX));
                return Err(WasmError::Refused { writer, reason });
            }
        };
        Ok(self.terms.grant.check(commands, rejections))
    }

    /// The store, ready for one call. Whoever takes it and does not give it back ends the instance.
    fn take(&mut self) -> Result<Running, WasmError> {
        let running = self.running.take();
        let mut running = running.ok_or_else(|| WasmError::GivenUp { writer: self.terms.name.to_string() })?;
        arm(&mut running.store, &self.terms);
        Ok(running)
    }

    /// Gives the store back after a call that ended well.
    fn settle<T>(&mut self, running: Running, call: &'static str, answer: wasmtime::Result<T>) -> Result<T, WasmError> {
        let answer = answer.map_err(|error| Stop::explain(&error, &self.terms.name, call, &self.terms.limits))?;
        self.running = Some(running);
        Ok(answer)
    }

    fn nonsense(&mut self, call: &'static str, reason: String) -> WasmError {
        self.running = None;
        WasmError::Nonsense { writer: self.terms.name.to_string(), call, reason }
    }

    /// Checks a plan against the table and the log.
    fn plan(&mut self, shape: &TableShape, plan: Plan) -> Result<Plan, WasmError> {
        if plan.ignore {
            return Ok(Plan { ignore: true, ..Plan::default() });
        }
        let count = shape.columns.len();
        let mut wanted = vec![false; count];
        for at in &plan.columns {
            match wanted.get_mut(usize::from(*at)) {
                Some(wanted) if !*wanted => *wanted = true,
                Some(_) => return Err(self.nonsense(CALL_DEFINE, format!("its plan names column {at} twice"))),
                None => return Err(self.nonsense(CALL_DEFINE, format!("its plan names column {at} of {count}"))),
            }
        }
        if let Some(at) = plan.order_by.iter().find(|at| usize::from(**at) >= count) {
            return Err(self.nonsense(CALL_DEFINE, format!("its plan orders by column {at} of {count}")));
        }
        let partitions = self.terms.partitions;
        if partitions > 1 && !plan.order_by.is_empty() && !same(&plan.order_by, &shape.primary_key) {
            let names: Vec<&str> =
                plan.order_by.iter().map(|at| shape.columns[usize::from(*at)].name.as_str()).collect();
            let (writer, table) = (self.terms.name.to_string(), shape.full_name());
            return Err(WasmError::NeedsOnePartition { writer, table, columns: names.join(", "), partitions });
        }
        Ok(plan)
    }

    fn rejections(&mut self, answer: Vec<bindings::Rejection>, rows: usize) -> Result<Vec<Rejection>, WasmError> {
        if answer.is_empty() {
            return Ok(Vec::new());
        }
        let mut rejected = vec![false; rows];
        let mut rejections = Vec::with_capacity(answer.len());
        for bindings::Rejection { row, reason } in answer {
            match rejected.get_mut(row as usize) {
                Some(seen) if !*seen => *seen = true,
                Some(_) => return Err(self.nonsense(CALL_WRITE, format!("it rejects row {row} twice"))),
                None => return Err(self.nonsense(CALL_WRITE, format!("it rejects row {row} of a batch of {rows}"))),
            }
            rejections.push(Rejection { row, reason: printable(&reason, REASON_BYTES_MAX) });
        }
        Ok(rejections)
    }
}

impl Writer for Instance {
    async fn define(&mut self, id: u32, shape: &TableShape) -> Result<Plan, Failure> {
        Ok(Instance::define(self, id, shape).await?)
    }

    async fn write(&mut self, batch: Batch) -> Result<Mapped, Failure> {
        Ok(Instance::write(self, batch).await?)
    }
}

/// Whether two lists name the same columns.
fn same(one: &[u16], other: &[u16]) -> bool {
    one.iter().all(|at| other.contains(at)) && other.iter().all(|at| one.contains(at))
}

/// Gives the next call its time.
fn arm(store: &mut Store<State>, terms: &Terms) {
    let ticks = terms.limits.deadline.as_millis() / TICK.as_millis();
    store.data_mut().ticks_left = ticks as u64;
    store.set_epoch_deadline(1);
}

fn start_failed(error: &wasmtime::Error, terms: &Terms) -> WasmError {
    let writer = terms.name.to_string();
    if error.is::<wasmtime::PoolConcurrencyLimitError>() {
        return WasmError::Instances { writer, max: INSTANCES_MAX };
    }
    match Stop::explain(error, &writer, "its start", &terms.limits) {
        WasmError::Trap { .. } => WasmError::Start { writer, reason: format!("{error:#}") },
        limit => limit,
    }
}

fn shown(problems: Vec<bindings::Problem>) -> Vec<Problem> {
    let show = |problem: bindings::Problem| Problem {
        message: printable(&problem.message, REASON_BYTES_MAX),
        line: problem.line,
        column: problem.column,
    };
    problems.into_iter().take(PROBLEMS_MAX).map(show).collect()
}
