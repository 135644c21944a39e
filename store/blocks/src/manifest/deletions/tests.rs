//! Deletions in a manifest: which are taken, how they change, and their bytes.

use weir_model::deletion::DeletionQuery;
use weir_model::label::Matcher;
use weir_model::pattern::PatternBudget;
use weir_model::select::LineFilter;
use weir_model::wire::Kind;

use super::super::encode::Stamp;
use super::*;

fn request(query: &str) -> Arc<AcceptedRequest> {
    let asked = DeletionQuery {
        query: query.into(),
        selectors: vec![vec![Matcher::new("a", MatchOp::NotRegex, "b.*").unwrap()], Vec::new()],
        filters: vec![
            LineFilter::Contains(vec![b"x".to_vec(), b"y".to_vec()]),
            LineFilter::NotMatches(PatternBudget::default().compile_bytes("z+").unwrap()),
        ],
    };
    let range = TimeRange { start: -5, end: 9 };
    Arc::new(DeletionRequest::new(("t", Kind::Logs), asked, range, 77, true).unwrap().into())
}

#[test]
fn deletions_come_back_and_every_cut_is_an_error() {
    let mut manifest = Manifest { next_offset: 7, ..Manifest::default() };
    manifest.accept(request("one"), 6, 50).unwrap();
    manifest.accept(request("two"), 6, 60).unwrap();
    manifest.processed(&[manifest.deletions[0].request.key().clone()], 60);
    let mut bytes = Vec::new();
    encode(&mut bytes, &manifest.deletions);
    let (one, other) = (decode(&mut Reader::new(&bytes)).unwrap(), decode(&mut Reader::new(&bytes)).unwrap());
    assert_eq!((&one, &other), (&manifest.deletions, &one));
    assert!(Arc::ptr_eq(&one[1].request, &other[1].request), "compiled once");
    for cut in 0..bytes.len() {
        assert!(decode(&mut Reader::new(&bytes[..cut])).is_err(), "{cut} bytes");
    }
}

#[test]
fn golden_bytes() {
    let said = DeletionRequest {
        id: "1f".into(),
        tenant: "t".into(),
        query: "{}".into(),
        selectors: vec![vec![MatcherText { name: "a".into(), op: MatchOp::Equal, value: "b".into() }]],
        filters: vec![FilterText::Matches("x".into())],
        start: -1,
        end: 2,
        created: 3,
        can_cancel: true,
    };
    let known =
        PendingDeletion { request: Arc::new(said.into()), upto: 5, accepted: 4, partitions: 0, state: DeletionState::Begun };
    let mut bytes = Vec::new();
    encode(&mut bytes, std::slice::from_ref(&known));
    let expected = "01 023166 0174 027b7d 01 01 0161 00 0162 01 02 01 0178 01 04 06 08 05 03";
    assert_eq!(hex::encode(&bytes), expected.replace(' ', ""));
    let of_before = known.clone();
    let known = PendingDeletion { partitions: 6, ..known };
    bytes.clear();
    encode(&mut bytes, std::slice::from_ref(&known));
    let expected = "01 023166 0174 027b7d 01 01 0161 00 0162 01 02 01 0178 01 04 06 08 05 0b06";
    assert_eq!(hex::encode(&bytes), expected.replace(' ', ""));
    // A manifest is of the lowest version that can say what it has, and all come back.
    let manifest = Manifest { next_offset: 9, ..Manifest::default() };
    let stamp = Stamp { kind: Kind::Logs, partition: 3, version: 17, nonce: [0xab; 16] };
    let versions = [Vec::new(), vec![of_before.clone()], vec![of_before, known]].map(|deletions| {
        let manifest = Manifest { deletions, ..manifest.clone() };
        let bytes = super::super::encode::encode(&stamp, &manifest).unwrap();
        assert_eq!(super::super::encode::decode("m", &bytes).unwrap(), (stamp, manifest));
        bytes[4]
    });
    assert_eq!(versions, [1, 2, 3]);
}

#[test]
fn a_request_that_does_not_compile_hides_all_and_removes_nothing() {
    let broken = DeletionRequest { filters: vec![FilterText::Matches("(".into())], ..request("one").said.clone() };
    let broken = AcceptedRequest::from(broken);
    assert!(broken.deletion().covers(-5, 8) && broken.removable().is_none());
    assert!(request("one").removable().is_some());
}

#[test]
fn a_request_that_comes_again_means_what_was_sealed_since() {
    let mut manifest = Manifest { next_offset: 7, ..Manifest::default() };
    manifest.accept(request("one"), 6, 50).unwrap();
    let key = manifest.deletions[0].request.key().clone();
    let known = |manifest: &Manifest| -> Vec<_> {
        manifest.deletions.iter().map(|known| (known.upto, known.accepted, known.state)).collect()
    };
    manifest.begin_deletions(std::slice::from_ref(&key));
    manifest.next_offset = 8;
    manifest.accept(request("one"), 6, 55).unwrap();
    assert_eq!(known(&manifest), [(8, 50, DeletionState::Begun)], "it goes on, and its cancel period does not begin again");
    manifest.processed(std::slice::from_ref(&key), 60);
    manifest.next_offset = 9;
    manifest.accept(request("one"), 6, 60).unwrap();
    assert_eq!(known(&manifest), [(9, 60, DeletionState::Received)]);
    // Of another tenant with the same id.
    let said = DeletionRequest { tenant: "u".into(), ..request("one").said.clone() };
    manifest.accept(Arc::new(said.into()), 6, 70).unwrap();
    assert_eq!(manifest.deletions.len(), 2);
    manifest.cancel(&key);
    assert!(manifest.deletion(&key).is_none() && manifest.deletions.len() == 1);
}

#[test]
fn there_are_only_so_many() {
    let mut manifest = Manifest::default();
    let of = |tenant: usize, query: usize| {
        let said = request(&query.to_string()).said.clone();
        Arc::new(AcceptedRequest::from(DeletionRequest { tenant: format!("t{tenant}"), ..said }))
    };
    let whole = |tenant: usize| {
        let asked = DeletionQuery::default();
        Arc::new(DeletionRequest::new((&format!("t{tenant}"), Kind::Logs), asked, TimeRange::ALL, 77, false).unwrap().into())
    };
    let refused = |result: Result<(), StoreError>| result.unwrap_err().to_string();
    for i in 0..DELETIONS_MAX - WHOLE_ROOM {
        manifest.accept(of(i / TENANT_DELETIONS_MAX, i), 6, 0).unwrap();
    }
    assert!(refused(manifest.accept(of(0, 999), 6, 0)).contains("of tenant t0"));
    assert!(refused(manifest.accept(of(9, 999), 6, 0)).contains("200 requests are not processed"));
    (0..WHOLE_ROOM).for_each(|i| manifest.accept(whole(i), 6, 0).unwrap());
    assert!(refused(manifest.accept(whole(99), 6, 0)).contains("250 requests are not processed"));
    manifest.accept(of(0, 0), 6, 0).expect("one that is there");
    let keys = |manifest: &Manifest| -> Vec<_> { manifest.deletions.iter().map(|known| known.request.key().clone()).collect() };
    let all = keys(&manifest);
    manifest.processed(&all[1..], PROCESSED_AGE_MAX);
    let kept = || all[DELETIONS_MAX - PROCESSED_KEPT..].iter();
    assert_eq!(keys(&manifest), all[..1].iter().chain(kept()).cloned().collect::<Vec<_>>());
    manifest.processed(&[], PROCESSED_AGE_MAX + 1);
    assert_eq!(keys(&manifest), all[..1], "one that is not processed is never forgotten");
}

#[test]
fn blocks_of_both_sides_of_an_offset_stay_apart() {
    let mut manifest = Manifest { next_offset: 7, ..Manifest::default() };
    manifest.accept(request("one"), 6, 0).unwrap();
    let entry = |first_offset, next_offset| BlockEntry { first_offset, next_offset, ..BlockEntry::default() };
    assert!(manifest.parts(&entry(0, 7), &entry(7, 9)) && !manifest.parts(&entry(0, 3), &entry(3, 7)));
    assert!(!manifest.parts(&entry(7, 8), &entry(8, 9)));
    manifest.deletions[0].state = DeletionState::Processed;
    assert!(!manifest.parts(&entry(0, 7), &entry(7, 9)));
    manifest.next_offset = 6;
    assert!(manifest.check().is_err(), "a deletion beyond what is sealed");
}
