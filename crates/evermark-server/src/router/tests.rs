use super::*;

#[tokio::test]
async fn what_exceeds_a_lane_waits_and_what_exceeds_the_wait_is_refused() {
    let lane = Lane::new(1, 1);
    let running = lane.enter().await.unwrap();
    let mut waiting = Box::pin(lane.enter());
    assert!(futures::poll!(&mut waiting).is_pending());
    let refused = lane.enter().await.unwrap_err();
    assert_eq!((refused.status, refused.code.name()), (StatusCode::TOO_MANY_REQUESTS, "QUEUE_SATURATED"));
    drop(running);
    assert!(waiting.await.is_ok());
    assert!(lane.enter().await.is_ok());
}
