//! P2: no lost update.

use session_core::Storage;
use session_tests::stores::{Call, When};

use crate::app::App;

/// All load before any saves; on several threads, so that the saves really meet.
async fn all_keep_theirs(writers: usize) {
    for _ in 0..50 {
        let app = App::new();
        let cookie = app.client().await;
        let loaded: Vec<_> = (0..writers)
            .map(|_| app.gate().hold(Call::Read, When::After))
            .collect();
        let requests: Vec<_> = (0..writers)
            .map(|writer| app.start(&cookie, &format!("/set/k{writer}/{writer}")))
            .collect();
        for load in &loaded {
            load.reached().await;
        }
        for load in &loaded {
            load.open();
        }
        for request in requests {
            assert_eq!(request.await.unwrap().status, 200);
        }
        let session = app.storage.load(&[&cookie]).await;
        let session = session.unwrap();
        assert_eq!(session.len(), writers + 1);
        for writer in 0..writers {
            let value: String = session.get(&format!("k{writer}")).unwrap().unwrap();
            assert_eq!(value, writer.to_string());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p2_sixty_four_parallel_writers_keep_all_their_keys() {
    all_keep_theirs(64).await;
}

/// Lets `paths` load at the same time and then save in their order; returns the keys that are left.
async fn saved_in_order(paths: &[&str]) -> Vec<String> {
    let app = App::new();
    let cookie = app.client().await;
    app.ask(Some(&cookie), "/set/a/0").await;
    app.ask(Some(&cookie), "/set/b/0").await;
    let mut requests = Vec::new();
    for path in paths {
        let load = app.gate().hold(Call::Read, When::After);
        requests.push((app.start(&cookie, path), load.clone()));
        load.reached().await;
    }
    for (request, load) in requests {
        load.open();
        assert_eq!(request.await.unwrap().status, 200);
    }
    app.keys(&cookie).await.unwrap_or_default()
}

#[tokio::test]
async fn p2_removals_and_insertions_are_merged_whatever_their_order() {
    let paths = ["/remove/a", "/set/new/1", "/remove/b", "/set/other/1"];
    let left = saved_in_order(&paths).await;
    assert_eq!(left, ["k", "new", "other"]);
    let reversed: Vec<&str> = paths.into_iter().rev().collect();
    assert_eq!(saved_in_order(&reversed).await, ["k", "other", "new"]);
}

#[tokio::test]
async fn p2_of_a_removal_and_an_insertion_of_one_key_the_last_save_wins() {
    assert_eq!(
        saved_in_order(&["/remove/a", "/set/a/1"]).await,
        ["k", "b", "a"]
    );
    assert_eq!(saved_in_order(&["/set/a/1", "/remove/a"]).await, ["k", "b"]);
}

#[tokio::test]
async fn p2_a_clear_ends_what_was_there_and_an_emptying_what_it_saw() {
    let none: [&str; 0] = [];
    assert_eq!(saved_in_order(&["/set/new/1", "/clear"]).await, none);
    assert_eq!(saved_in_order(&["/set/new/1", "/empty"]).await, ["new"]);
    assert_eq!(saved_in_order(&["/touch", "/empty"]).await, none);
}

#[tokio::test]
async fn p2_what_was_saved_is_not_saved_again_over_what_others_wrote_since() {
    let app = App::new();
    let cookie = app.client().await;
    let slow = app.storage.load(&[&cookie]).await.unwrap();
    slow.insert("k", 2).unwrap();
    let hold = app.gate().hold(Call::Update, When::After);
    let save = tokio::spawn({
        let (app, slow) = (app.clone(), slow.clone());
        async move { app.storage.save(&slow).await }
    });
    hold.reached().await;
    slow.insert("j", 1).unwrap(); // while the save is on its way
    hold.open();
    save.await.unwrap().unwrap();
    let other = app.storage.load(&[&cookie]).await.unwrap();
    assert_eq!(other.get::<u32>("k").unwrap(), Some(2));
    other.insert("k", 3).unwrap();
    app.storage.save(&other).await.unwrap();
    app.storage.save(&slow).await.unwrap(); // only j is unsaved
    let end = app.storage.load(&[&cookie]).await.unwrap();
    assert_eq!(end.get::<u32>("k").unwrap(), Some(3), "the other's is lost");
    assert_eq!(end.get::<u32>("j").unwrap(), Some(1));
}
