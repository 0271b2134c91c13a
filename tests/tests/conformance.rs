//! The stand-in passes what the real Ollama passes (`tests/live` asks the real one the same).

use causeway_standin::{Config, Model, Standin};
use causeway_tests::conformance;
use causeway_tests::stack::Api;

#[tokio::test]
async fn the_stand_in_conforms_to_ollama() {
    let config = Config { models: vec![Model::named("standin:latest"), Model::named("other:1b")], ..Config::default() };
    let standin = Standin::spawn(config).await.unwrap();
    let api = Api::new(&standin.url(), None);
    conformance::check(&api, "standin:latest").await.unwrap();
    conformance::check(&api, "other:1b").await.unwrap();
}
