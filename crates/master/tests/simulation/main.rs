//! The fleet in a simulated world: seeds × random deaths, boots, signals and clock jumps.
//!
//! Each seed is one life of a server: a time of trouble, then peace. Safety is checked at every
//! step (see [`world::World::tell`]), liveness here: in peace the fleet comes to rest at full
//! strength, a good reload replaces everybody, a stop ends in time. A failure names its seed;
//! `IRONHORN_SIM_SEED=N` replays it alone, with every event on stderr; `IRONHORN_SIM_SEEDS=N` runs
//! the first N.

mod process;
mod random;
mod world;

use std::{env, panic, time::Duration};

use ironhorn_master::{
    command::{Command, Stop},
    fleet::State,
};
use process::Code;
use world::{GRACEFUL, LONGEST_DELAY, World};

const SEEDS: u64 = 1_000;

/// Longer than every limit and delay together: what has not happened then will never happen.
const PATIENCE: Duration = Duration::from_secs(400);

#[test]
fn the_fleet_survives_its_world() {
    if let Ok(seed) = env::var("IRONHORN_SIM_SEED") {
        let seed = seed.parse().expect("IRONHORN_SIM_SEED is a number");
        life(seed, true);
        return;
    }
    let seeds = env::var("IRONHORN_SIM_SEEDS")
        .map_or(SEEDS, |seeds| seeds.parse().expect("IRONHORN_SIM_SEEDS is a number"));
    for seed in 0..seeds {
        if let Err(cause) = panic::catch_unwind(|| life(seed, false)) {
            eprintln!("seed {seed} failed: replay with IRONHORN_SIM_SEED={seed}");
            panic::resume_unwind(cause);
        }
    }
}

/// One server from start to stop.
fn life(seed: u64, verbose: bool) {
    let mut world = World::new(seed, verbose);
    world.start();
    world.trouble = true;
    let troubled = Duration::from_secs(world.random.between(5, 240));
    world.run_for(troubled);
    if world.random.chance(20) {
        // Stopped in the middle of it.
        return stop(&mut world);
    }
    world.trouble = false;
    world.code = Code::GOOD;
    world.settings_are_wrong = false;

    if world.exited.is_none() && world.random.chance(30) {
        // Nobody asks for anything: what is on the disk now boots, and that is enough, save for
        // who has to be told that the disk has changed.
        let rested = world.run_until(PATIENCE, World::is_at_rest);
        let waits = world.fleet.state() == State::Waiting || world.is_bound_to_bad_code();
        assert!(rested || waits || world.exited.is_some(), "not at full strength in peace");
    }
    if world.exited.is_some() {
        return assert_start_failed(&world);
    }
    world.command(Command::Reload);
    let replaced = world.run_until(PATIENCE, |world| world.is_at_rest() && world.is_up_to_date());
    if world.exited.is_some() {
        return assert_start_failed(&world);
    }
    assert!(replaced, "a good reload did not replace everybody");
    assert_eq!(world.fleet.state(), State::Serving);
    stop(&mut world);
}

fn stop(world: &mut World) {
    if world.exited.is_some() {
        return assert_start_failed(world);
    }
    let quick = Duration::from_secs(1);
    let limit = match world.random.below(4) {
        0 => {
            world.command(Command::Stop(Stop::Graceful));
            LONGEST_DELAY + GRACEFUL + Duration::from_secs(1)
        }
        1 => {
            world.command(Command::Stop(Stop::Quick));
            quick
        }
        2 => {
            world.command(Command::Stop(Stop::Graceful));
            world.run_for(Duration::from_millis(100));
            if world.exited.is_none() {
                world.command(Command::Stop(Stop::Graceful));
            }
            quick
        }
        _ => {
            // The trouble goes on while the stop is put off.
            world.command(Command::Stop(Stop::Graceful));
            let end = world.run_until(LONGEST_DELAY, |it| it.fleet.state() != State::Leaving);
            assert!(end, "a stop was put off for too long");
            GRACEFUL + Duration::from_secs(1)
        }
    };
    world.trouble = false;
    let ended = world.run_until(limit, |world| world.exited.is_some());
    assert!(ended, "a stop did not end in {limit:?}");
    if world.exited != Some(0) {
        // It was on its way out already.
        assert_start_failed(world);
    }
    assert_eq!(world.living(), 0, "somebody outlives the server");
}

/// The only way to end unasked is a first generation of which nobody became ready.
fn assert_start_failed(world: &World) {
    assert!(!world.ever_ready, "the server ended though a worker had been ready");
    assert!(!world.keeps_trying, "the server ended though it was to keep trying");
    assert!(matches!(world.exited, Some(3 | 4)), "exit code {:?}", world.exited);
    assert_eq!(world.living(), 0, "somebody outlives the server");
}
