//! Exemplars of a request: each goes with a sample of its series. Called by [`super::sections`].

use std::sync::Arc;

use weir_model::metric::Exemplar;

use super::labels;
use super::rows::{self, EXEMPLAR_LETTERS_MAX, Place};
use super::sections::{MILLISECOND, Reading};
use super::series::Known;
use crate::push_error::PushError;

impl Reading<'_> {
    pub(super) fn exemplar(&mut self, known: &Arc<Known>, message: &[u8], place: Option<Place>) -> Result<(), PushError> {
        known.newest.want();
        // Its labels, read and packed, are a few times their text; it waits in a list and goes to another.
        self.charges.add(8 * message.len() + 4 * size_of::<(Arc<Known>, Exemplar)>())?;
        let exemplar = self.request.exemplar(message)?.and_then(|raw| {
            let labels = labels::read(&raw.labels, self.labels_max)?;
            if !rows::fits(&labels) {
                return Err(format!("exemplar of more than {EXEMPLAR_LETTERS_MAX} letters"));
            }
            let timestamp = raw.time.checked_mul(MILLISECOND).ok_or("a time beyond 2262")?;
            Ok(Exemplar { labels, value: raw.value, timestamp })
        });
        let Ok(exemplar) = exemplar else {
            self.taken.refused.leave_out("exemplar");
            return Ok(());
        };
        match place {
            Some(place) => self.add_exemplar(place, exemplar),
            None => self.late.push((Arc::clone(known), exemplar)),
        }
        Ok(())
    }

    fn add_exemplar(&mut self, place: Place, exemplar: Exemplar) {
        self.rows.add_exemplar(place, exemplar);
        self.taken.written.exemplars += 1;
    }

    /// Exemplars that came without a sample go with the newest one of their series in this request, which Prometheus sends as a series
    /// of its own, or else with that of a request before.
    pub(super) fn place_late(&mut self) -> Result<(), PushError> {
        let late = std::mem::take(&mut self.late);
        if late.is_empty() {
            return Ok(());
        }
        let mut places = self.rows.newest_of(late.iter().map(|(known, _)| known));
        for (known, exemplar) in late {
            let mut place = places.get(&Arc::as_ptr(&known)).copied();
            if place.is_none()
                && let Some((time, value)) = self.tenant.state.read().newest(&known)
                && self.bounds.check(time).is_ok()
            {
                let again = self.place(&known, time, 0, value)?;
                places.insert(Arc::as_ptr(&known), again);
                place = Some(again);
            }
            match place {
                Some(place) => self.add_exemplar(place, exemplar),
                None => self.taken.refused.leave_out("exemplar_without_sample"),
            }
        }
        Ok(())
    }
}
