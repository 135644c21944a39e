//! Views of all partitions for one query: blocks of the manifest version that the owner names, and its heads' part.
//!
//! Every query looks at the object store which manifest is the newest while the owners are being asked. So an answer is
//! never of an owner that had been replaced before the query began, and a record is never seen twice or not at all: the
//! heads' part and the version whose blocks are read come from one instant of one owner.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;
use weir_blocks::StoreError;
use weir_blocks::engine::Head;
use weir_blocks::hidden::Horizon;
use weir_blocks::view::PartitionView;
use weir_heads::request::visible_out;
use weir_heads::{
    HeadExtract, HeadInstant, HeadProtocol, HeadQuery, HeadRequest, HeadResponse, PROTOCOL, Refusal, bus_silent, decode,
};
use weir_model::scope::TenantScope;
use weir_model::select::{Budget, ReadError};
use weir_model::wire::Kind;

use super::breaker::CircuitBreaker;
use super::config::FanOutConfig;
use super::metrics::FanOutMetrics;
use super::owners::{ANSWER_MAX, Owners, Unread};
use super::registry::PartitionRegistry;
use super::remote_partition::{Opened, RemotePartition, Version};
use super::rows::HeldRows;
use super::sealed::{coverage, nothing_begun, without_head};

/// A partition is asked for again when it moved meanwhile; a second time it is left out.
const ROUNDS: usize = 2;

/// What bounds an owner's answer of one partition.
pub(super) const EXTRACT_MAX: &str = "aggregator.extract_max";

/// What a query gave.
pub(super) struct CollectedViews<'a, E: HeadProtocol> {
    pub views: Vec<PartitionView<E>>,
    pub rows: HeldRows<'a>,
    /// See `HeadExtract::watermark`, of the partitions that have one.
    pub watermarks: Vec<i64>,
    /// From when on records are seen.
    pub horizon: Option<Horizon>,
}

/// What is asked.
pub(super) struct ViewRequest<'a> {
    pub tenant: &'a TenantScope,
    pub query: HeadQuery,
    /// Only this partition.
    pub only: Option<u32>,
}

/// Who is asked, and under which limits.
pub(super) struct HeadClient {
    pub owners: Owners,
    pub store: Arc<CircuitBreaker>,
    pub config: FanOutConfig,
    pub metrics: FanOutMetrics,
}

/// What came of one partition in one round.
enum Verdict {
    /// What an owner has said, and why it may be history.
    Accepted(Arc<Version>, HeadInstant, HeadExtract, Option<String>),
    /// Another owner has it now.
    Moved,
    /// The version to read instead, and why there is nothing of the head.
    Missing(Arc<Version>, String),
    /// Somebody made its directory and no manifest.
    Empty,
}

impl HeadClient {
    /// Views of every partition that is request.
    pub(super) async fn collect_views<'a, E: HeadProtocol>(
        &self,
        known: &PartitionRegistry<E>,
        request: &ViewRequest<'_>,
        budget: &'a dyn Budget,
    ) -> Result<CollectedViews<'a, E>, ReadError> {
        let mut pending = pick(known.known(), request.only);
        if pending.is_empty() {
            // It may have begun since the last look.
            self.store.wait(known.discover()).await.map_err(unlisted)?;
            pending = pick(known.known(), request.only);
        }
        let (views, watermarks, rows) = (Vec::new(), Vec::new(), HeldRows::new(budget));
        let mut collected = CollectedViews { views, rows, watermarks, horizon: None };
        if pending.is_empty() && request.only.is_none() {
            collected.views.push(nothing_begun(E::KIND));
        }
        for round in 1..=ROUNDS {
            let verdicts = self.round(&pending, request, round == ROUNDS).await?;
            let opened = join_all(pending.iter().zip(&verdicts).map(|(part, verdict)| open(part, verdict))).await;
            let mut moved = Vec::new();
            for ((part, verdict), mut opened) in pending.into_iter().zip(verdicts).zip(opened) {
                match verdict {
                    Verdict::Accepted(version, instant, extract, unverified) => {
                        opened.missing.extend(unverified);
                        self.accept(
                            known,
                            &part,
                            &request.tenant.tenant,
                            (&version, opened),
                            (instant, extract),
                            &mut collected,
                        )?;
                    }
                    Verdict::Missing(version, why) => collected.views.push(without_head(&part, &version, opened, why)),
                    Verdict::Moved => moved.push(part),
                    Verdict::Empty => {}
                }
            }
            pending = moved;
        }
        collected.views.sort_by_key(|view| view.coverage.partition);
        Ok(collected)
    }

    /// Asks the owners of these partitions, and looks at their manifests meanwhile.
    async fn round<E: HeadProtocol>(
        &self,
        parts: &[Arc<RemotePartition<E>>],
        request: &ViewRequest<'_>,
        last: bool,
    ) -> Result<Vec<Verdict>, ReadError> {
        // Who is not known at all has to be looked up before anybody can be asked.
        let fresh = parts.iter().filter(|part| part.newest().is_none());
        join_all(fresh.map(|part| self.store.wait(part.refresh_manifest()))).await;
        let asked: Vec<Option<Arc<Version>>> = parts.iter().map(|part| part.newest()).collect();
        let looks = join_all(parts.iter().map(|part| self.store.wait(part.refresh_manifest())));
        let (looks, answers) = tokio::join!(looks, self.ask::<E>(parts, &asked, request));
        let mut answers = answers?;
        let mut verdicts = Vec::with_capacity(parts.len());
        for ((part, look), asked) in parts.iter().zip(looks).zip(asked) {
            let answer = answers.remove(&part.partition()).unwrap_or_else(|| Err("it was not asked".into()));
            verdicts.push(self.resolve(part, look, asked, answer, last).await?);
        }
        Ok(verdicts)
    }

    /// Each owner once, for all of its partitions. Errors when an answer is too large and there is a smaller one to ask for.
    async fn ask<E: HeadProtocol>(
        &self,
        parts: &[Arc<RemotePartition<E>>],
        versions: &[Option<Arc<Version>>],
        request: &ViewRequest<'_>,
    ) -> Result<BTreeMap<u32, Result<HeadResponse, String>>, ReadError> {
        let mut owners: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
        for (part, version) in parts.iter().zip(versions) {
            if let Some(version) = version {
                owners.entry(&version.manifest.owner).or_default().push(part.partition());
            }
        }
        let asking = owners.into_iter().map(|(owner, partitions)| async move {
            let answered = self.ask_owner(E::KIND, owner, &partitions, request).await;
            (partitions, answered)
        });
        let mut answers = BTreeMap::new();
        for (partitions, answered) in join_all(asking).await {
            match answered {
                Ok(given) => answers.extend(given.into_iter().map(|answer| (place(&answer), Ok(answer)))),
                Err(Unread::TooLarge(limit)) if self.is_divisible(&request.query) => {
                    partitions.iter().for_each(|_| self.metrics.part(E::KIND.name(), "too_large"));
                    return Err(ReadError::Budget { limit, what: "bytes of one owner's answer", key: ANSWER_MAX });
                }
                Err(unread) => {
                    let why = String::from(unread);
                    answers.extend(partitions.into_iter().map(|partition| (partition, Err(why.clone()))));
                }
            }
        }
        Ok(answers)
    }

    /// Whether who asks can ask for less at a time: templates by their lines, lines in smaller pages.
    fn is_divisible(&self, query: &HeadQuery) -> bool {
        match query {
            HeadQuery::Templates { .. } => true,
            HeadQuery::Lines(lines) => lines.page_bytes > self.config.page_min.to_u64(),
            _ => false,
        }
    }

    async fn ask_owner(
        &self,
        kind: Kind,
        owner: &str,
        partitions: &[u32],
        request: &ViewRequest<'_>,
    ) -> Result<Vec<HeadResponse>, Unread> {
        if owner.is_empty() {
            return Err("the manifest does not say where its owner is".to_owned().into());
        }
        let timeout_ms = u64::try_from(self.owners.timeout().as_millis()).unwrap_or(u64::MAX);
        let body = HeadRequest {
            protocol: PROTOCOL,
            kind,
            partitions: partitions.to_vec(),
            tenant: (*request.tenant.tenant).to_owned(),
            visible: visible_out(&request.tenant.visible),
            timeout_ms,
            query: request.query.clone(),
        };
        let bytes = self.owners.ask(owner, &body).await?;
        decode(&bytes, kind).map_err(|error| format!("its answer cannot be read: {error}").into())
    }

    async fn resolve<E: HeadProtocol>(
        &self,
        part: &RemotePartition<E>,
        look: Result<Option<Arc<Version>>, StoreError>,
        asked: Option<Arc<Version>>,
        answer: Result<HeadResponse, String>,
        last: bool,
    ) -> Result<Verdict, ReadError> {
        let kind = E::KIND.name();
        let (newest, unsure) = match look {
            Ok(Some(newest)) => (newest, None),
            Ok(None) => return Ok(Verdict::Empty),
            Err(error) => match asked.clone() {
                Some(newest) => (newest, Some(error)),
                None => return Err(ReadError::Store(format!("{kind} partition {}: {error}", part.partition()))),
            },
        };
        if let Some(error) = unsure {
            return Ok(self.accept_unverified(part, newest, answer, &error));
        }
        let moved = asked.as_ref().is_none_or(|asked| asked.manifest.epoch != newest.manifest.epoch);
        let (outcome, why) = match answer {
            Ok(HeadResponse::Extract(instant, extract)) => match self.validate(part, &newest, &instant).await {
                Ok(version) => {
                    self.metrics.part(kind, "answered");
                    part.note_high_watermark(instant.high_watermark);
                    return Ok(Verdict::Accepted(version, instant, extract, None));
                }
                Err(why) => ("stale", why),
            },
            Ok(HeadResponse::Refused(Refusal::TooLarge { limit, .. })) => {
                self.metrics.part(kind, "too_large");
                let (what, key) = ("bytes of unsealed records of one partition", EXTRACT_MAX);
                return Err(ReadError::Budget { limit, what, key });
            }
            Ok(HeadResponse::Refused(Refusal::NotOwned { .. })) => ("not_owned", "it does not own the partition".to_owned()),
            Ok(HeadResponse::Refused(Refusal::Failed { text, .. })) => ("refused", text),
            Err(why) => ("unreachable", why),
        };
        if moved && !last {
            return Ok(Verdict::Moved);
        }
        Ok(self.missing::<E>(outcome, newest, why))
    }

    /// Without a look nobody knows whether the one who answers still owns the partition. While the store is silent nobody else can
    /// have come to own it either, and what it says is of one instant: so it is taken, and the answer is not complete.
    fn accept_unverified<E: HeadProtocol>(
        &self,
        part: &RemotePartition<E>,
        newest: Arc<Version>,
        answer: Result<HeadResponse, String>,
        error: &StoreError,
    ) -> Verdict {
        let unverified = format!("the newest manifest is not known: {error}");
        if let Ok(HeadResponse::Extract(instant, extract)) = answer
            && let Some(version) = part.kept(instant.version).filter(|version| version.manifest.epoch == instant.epoch)
        {
            self.metrics.part(E::KIND.name(), "unknown_version");
            let (topic, partition) = (E::KIND.topic(), part.partition());
            let unverified =
                format!("{topic} partition {partition}: there may be more than its last known owner says: {unverified}");
            return Verdict::Accepted(version, instant, extract, Some(unverified));
        }
        self.missing::<E>("unknown_version", newest, unverified)
    }

    fn missing<E: HeadProtocol>(&self, outcome: &'static str, version: Arc<Version>, why: String) -> Verdict {
        self.metrics.part(E::KIND.name(), outcome);
        Verdict::Missing(version, why)
    }

    /// The version that an answer belongs to, if it is the answer of the owner as the newest manifest has it.
    async fn validate<E: HeadProtocol>(
        &self,
        part: &RemotePartition<E>,
        newest: &Arc<Version>,
        instant: &HeadInstant,
    ) -> Result<Arc<Version>, String> {
        if instant.epoch < newest.manifest.epoch {
            let (theirs, ours) = (instant.epoch, newest.manifest.epoch);
            return Err(format!("it answered as the owner of epoch {theirs}, but the partition is in epoch {ours}"));
        }
        let version = match part.kept(instant.version) {
            None => self.store.wait(part.version(instant.version)).await.map_err(|error| error.to_string())?,
            kept => kept,
        };
        let version = version.ok_or_else(|| format!("its manifest version {} is not there", instant.version))?;
        if version.manifest.epoch != instant.epoch {
            let (theirs, ours) = (instant.epoch, version.manifest.epoch);
            return Err(format!("it answered in epoch {theirs} with a manifest of epoch {ours}"));
        }
        Ok(version)
    }

    /// Adds what an owner has answered, and the blocks of the version that belongs to it. Errors when the query may not hold the rows.
    fn accept<E: HeadProtocol>(
        &self,
        known: &PartitionRegistry<E>,
        part: &RemotePartition<E>,
        tenant: &str,
        (version, opened): (&Version, Opened<E>),
        (instant, extract): (HeadInstant, HeadExtract),
        collected: &mut CollectedViews<'_, E>,
    ) -> Result<(), ReadError> {
        let mut heads = Vec::with_capacity(extract.heads.len());
        let mut held: u64 = collected.views.iter().flat_map(|view| &view.heads).map(|head| head.bytes() as u64).sum();
        for records in &extract.heads {
            let room = self.config.heads_memory_max.to_u64().saturating_sub(held);
            match known.engine.rebuild_head(instant.partition, tenant, records, room) {
                Ok(head) => {
                    held += head.bytes() as u64;
                    heads.push(Arc::new(head));
                }
                // An answer in parts would be wrong in a way that nobody sees.
                Err(why) => {
                    let why = format!("its unsealed records cannot be read: {why}");
                    collected.views.push(without_head(part, version, opened, why));
                    return Ok(());
                }
            }
        }
        let mut coverage = coverage::<E>(version, instant.partition);
        coverage.indexed_offset = instant.indexed_offset;
        // A new owner may know less of the bus than the one before has said.
        coverage.high_watermark = instant.high_watermark.max(part.high_watermark());
        let mut missing = opened.missing;
        missing.extend(bus_silent(E::KIND.topic(), instant.partition, instant.bus_silent_seconds));
        collected.rows.extend(extract.rows)?;
        collected.watermarks.extend(extract.watermark);
        collected.views.push(PartitionView { coverage, blocks: opened.blocks, heads, missing });
        Ok(())
    }
}

fn pick<E: HeadProtocol>(parts: Vec<Arc<RemotePartition<E>>>, only: Option<u32>) -> Vec<Arc<RemotePartition<E>>> {
    parts.into_iter().filter(|part| only.is_none_or(|only| only == part.partition())).collect()
}

fn place(answer: &HeadResponse) -> u32 {
    match answer {
        HeadResponse::Extract(HeadInstant { partition, .. }, _)
        | HeadResponse::Refused(
            Refusal::NotOwned { partition } | Refusal::TooLarge { partition, .. } | Refusal::Failed { partition, .. },
        ) => *partition,
    }
}

/// The blocks that an answer needs beside what the owner gave.
async fn open<E: HeadProtocol>(part: &RemotePartition<E>, verdict: &Verdict) -> Opened<E> {
    match verdict {
        Verdict::Accepted(version, ..) | Verdict::Missing(version, _) => part.open(version).await,
        Verdict::Moved | Verdict::Empty => Opened { blocks: Vec::new(), missing: Vec::new() },
    }
}

fn unlisted(error: StoreError) -> ReadError {
    ReadError::Store(format!("list partitions: {error}"))
}
