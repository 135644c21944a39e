//! What stands between weir and the brokers, as librdkafka's clients hear it: it goes on trying by itself, and whoever asks hears no
//! more than "timed out". Kept until it has gone, logged once each time it changes, and added to the errors of those who ask.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::config::KafkaConfig;
use crate::BusError;

/// Under which a client's connection is kept; refusals are kept under what was refused.
const CONNECTION: &str = "";

pub(crate) fn kafka_error(operation: &'static str) -> impl Fn(KafkaError) -> BusError {
    move |error| BusError::Kafka { operation, message: error.to_string() }
}

/// Shared by all clients of one bus.
#[derive(Clone)]
pub(crate) struct Diagnosis {
    identity: Arc<Identity>,
    /// Guards what stands in the way now, by what it stands in the way of.
    obstacles: Arc<Mutex<BTreeMap<String, Obstacle>>>,
}

struct Obstacle {
    told: String,
    /// The brokers have said no, or cannot be trusted: asking longer does not mend it.
    hopeless: bool,
}

/// Who weir is to the brokers, and whom it trusts, in words.
struct Identity {
    user: String,
    mechanism: String,
    authority: String,
}

impl Diagnosis {
    pub(crate) fn new(config: &KafkaConfig) -> Self {
        let property = |key: &str| config.properties.get(key).map(String::as_str);
        let user = match (property("sasl.username"), property("sasl.oauthbearer.client.id")) {
            (Some(user), _) | (None, Some(user)) => format!("user {user:?}"),
            (None, None) => property("ssl.certificate.location")
                .map_or_else(|| "a client without a name".to_owned(), |path| format!("the client of {path}")),
        };
        let mechanism = property("sasl.mechanism").or(property("sasl.mechanisms")).unwrap_or("no sasl.mechanism").to_owned();
        let authority = match (property("ssl.ca.location"), property("ssl.ca.pem")) {
            (Some(path), _) => format!("ssl.ca.location = {path:?}"),
            (None, Some(_)) => "ssl.ca.pem of the configuration".to_owned(),
            (None, None) => "this machine's CA certificates, since ssl.ca.location is not set".to_owned(),
        };
        Self { identity: Arc::new(Identity { user, mechanism, authority }), obstacles: Arc::default() }
    }

    /// What a client says of its connection. `reason` names the broker.
    pub(crate) fn connection_failed(&self, error: &KafkaError, reason: &str) {
        let Identity { user, mechanism, authority } = &*self.identity;
        // Behind it stands for how long it was tried, different each time.
        let reason = reason.split(" (after ").next().unwrap_or(reason);
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed) => {
                self.set(CONNECTION, format!("{reason}: {user} with {mechanism} is refused"), true);
            }
            Some(RDKafkaErrorCode::SSL) => self.set(CONNECTION, format!("{reason}: trusted is {authority}"), true),
            Some(RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::Resolve) if !self.is_hopeless() => {
                self.set(CONNECTION, reason.to_owned(), false);
            }
            // AllBrokersDown says of all what was said of each; the rest is not about connections.
            _ => {}
        }
    }

    /// A broker has answered.
    pub(crate) fn connected(&self) {
        self.obstacles.lock().remove(CONNECTION);
    }

    /// The brokers do not allow something: `what` completes "user … may not". Returns the sentence.
    pub(crate) fn refused(&self, what: &str, code: RDKafkaErrorCode) -> String {
        let told = format!("{} may not {what}: {code}", self.identity.user);
        self.set(what, told.clone(), true);
        told
    }

    /// What was refused, or never was, goes.
    pub(crate) fn allowed(&self, what: &str) {
        self.obstacles.lock().remove(what);
    }

    fn set(&self, key: &str, told: String, hopeless: bool) {
        let before = self.obstacles.lock().insert(key.to_owned(), Obstacle { told: told.clone(), hopeless });
        // What may heal by itself is logged by librdkafka.
        if hopeless && before.is_none_or(|before| before.told != told) {
            tracing::warn!(why = told, "the kafka brokers cannot be used as configured; going on trying");
        }
    }

    fn connection(&self) -> Option<String> {
        self.obstacles.lock().get(CONNECTION).map(|obstacle| obstacle.told.clone())
    }

    /// Whether the brokers would not have this client however long it waited.
    pub(crate) fn is_hopeless(&self) -> bool {
        self.obstacles.lock().get(CONNECTION).is_some_and(|obstacle| obstacle.hopeless)
    }

    /// All that stands in the way now and does not heal by itself. One broker of many that is away is none of these.
    pub(crate) fn obstacles(&self) -> Option<String> {
        let obstacles = self.obstacles.lock();
        let hopeless = obstacles.values().filter(|obstacle| obstacle.hopeless);
        let told = hopeless.map(|obstacle| obstacle.told.as_str()).collect::<Vec<_>>().join("; ");
        (!told.is_empty()).then_some(told)
    }

    /// The error of an operation, with what is known of its cause.
    pub(crate) fn error(&self, operation: &'static str, error: &KafkaError) -> BusError {
        let message = self.connection().map_or_else(|| error.to_string(), |why| format!("{error}: {why}"));
        BusError::Kafka { operation, message }
    }

    /// Who weir is to the brokers.
    pub(crate) fn user(&self) -> &str {
        &self.identity.user
    }
}

/// Whether the brokers have said no, rather than nothing.
pub(crate) fn is_refusal(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(code, Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed | Code::ClusterAuthorizationFailed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnosis(properties: &[(&str, &str)]) -> Diagnosis {
        let properties = properties.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Diagnosis::new(&KafkaConfig { properties, ..KafkaConfig::default() })
    }

    #[test]
    fn an_error_names_the_broker_the_user_the_mechanism_and_the_ca() {
        let diagnosis = diagnosis(&[("sasl.username", "weir"), ("sasl.mechanism", "PLAIN"), ("ssl.ca.location", "/ca.pem")]);
        let timed_out = KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut);
        let error = |code, reason| {
            diagnosis.connection_failed(&KafkaError::Global(code), reason);
            diagnosis.connection_failed(&KafkaError::Global(RDKafkaErrorCode::AllBrokersDown), "1/1 brokers are down");
            diagnosis.error("fetch metadata", &timed_out).to_string()
        };
        let said = error(RDKafkaErrorCode::Authentication, "sasl_ssl://b:1: bad password");
        assert!(said.ends_with(": sasl_ssl://b:1: bad password: user \"weir\" with PLAIN is refused"), "{said}");
        let said = error(RDKafkaErrorCode::SSL, "sasl_ssl://b:1: certificate verify failed");
        assert!(said.ends_with("verify failed: trusted is ssl.ca.location = \"/ca.pem\""), "{said}");
        diagnosis.connected();
        assert_eq!(diagnosis.obstacles(), None);
    }

    #[test]
    fn what_is_refused_is_told_until_it_is_allowed() {
        let diagnosis = diagnosis(&[("sasl.username", "weir")]);
        diagnosis.refused("write topic weir.logs", RDKafkaErrorCode::TopicAuthorizationFailed);
        diagnosis.refused("read group weir", RDKafkaErrorCode::GroupAuthorizationFailed);
        diagnosis.allowed("read group weir");
        let told = "user \"weir\" may not write topic weir.logs: TopicAuthorizationFailed (Broker: Topic authorization failed)";
        assert_eq!(diagnosis.obstacles().as_deref(), Some(told));
    }
}
