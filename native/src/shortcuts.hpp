// The shortcuts that a build can leave out, one at a time, so that it can be measured what each is worth
// (benchmarks/native_shortcuts.py builds with -DA3G_WITHOUT=name). The game and its pictures stay the same.
#pragma once

#ifndef A3G_WITHOUT
#define A3G_WITHOUT nothing
#endif

namespace a3g {

enum class Shortcut {
  nothing,
  jump_skip,      // JMP to itself: on to the next event
  wait_skip,      // the wait for sprite 0: on to the change of its flag
  catch_up,       // the PPU is brought to the moment only when somebody looks
  unseen_frames,  // frames that nobody sees are not drawn
  cut,            // only what lies under the cut is drawn
  tiles,          // the background by rows of tiles that were decoded beforehand
};

constexpr bool takes(Shortcut shortcut) { return shortcut != Shortcut::A3G_WITHOUT; }

}  // namespace a3g
