// The optimisations that a build can leave out one at a time (-DA3G_WITHOUT=name), to measure each of them with
// benchmarks/native_optimisations.py. The game and its pictures stay the same.
#pragma once

#ifndef A3G_WITHOUT
#define A3G_WITHOUT nothing
#endif

namespace a3g {

enum class Optimisation {
  nothing,
  jump_skip,      // JMP to itself: skipped to the next event
  wait_skip,      // the wait for sprite 0: skipped to the change of its flag
  catch_up,       // the PPU is brought up to date only when the CPU touches it
  unseen_frames,  // frames that the agent does not see are not drawn
  crop,           // only the part inside the crop is drawn
  tiles,          // the background is drawn by rows of tiles decoded in advance
};

constexpr bool has(Optimisation one) { return one != Optimisation::A3G_WITHOUT; }

}  // namespace a3g
