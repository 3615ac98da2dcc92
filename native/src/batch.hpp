// Many lanes stepped with one call, by several threads if asked for.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "observation.hpp"
#include "rules.hpp"
#include "thread_pool.hpp"

namespace a3g {

struct BatchOptions {
  int frame_skip = 4;
  int stack = 4;
  int height = 80, width = 80;
  Crop crop{15, 215, 43, 243};
  bool two_frame_max = false;
  int time_per_stage = 300;
  std::string reward = "a3g";
  int threads = 1;
};

// The caller's arrays that a call fills: C-contiguous, one row a lane. A null pointer is skipped; without observations
// nothing is drawn.
struct Output {
  std::uint8_t* observations = nullptr;  // (lanes, stack, height, width)
  float* rewards = nullptr;              // (lanes)
  std::int32_t* variables = nullptr;     // (lanes, kVariables)
  std::uint8_t* ram = nullptr;           // (lanes, 2048)
};

class Batch {
 public:
  // Throws std::invalid_argument if an option makes no sense.
  Batch(std::shared_ptr<const Cartridge> cartridge, int lanes, const BatchOptions& options);

  int lanes() const { return static_cast<int>(lanes_.size()); }
  const BatchOptions& options() const { return options_; }

  // Begins an episode in a lane from a save state: runs `idle_frames` frames without buttons, then fills the
  // lane's stack with the picture.
  void start(int lane, std::span<const std::uint8_t> state, Stage stage, int idle_frames, const Output& output);

  // One agent step in every lane, with the rules and rewards of an episode. With `active`, one flag a lane, the other
  // lanes and their rows stay as they are.
  void step(const std::uint8_t* buttons, const bool* active, const Output& output);

  // Runs `frames` frames in every lane without rules; writes no rewards.
  void run(const std::uint8_t* buttons, int frames, const Output& output);

  std::vector<std::uint8_t> save(int lane) const;
  void load(int lane, std::span<const std::uint8_t> state);

  // The console with its last frames, and the state of the episode: another process can continue from it.
  std::vector<std::uint8_t> save_game(int lane) const;
  void load_game(int lane, std::span<const std::uint8_t> game);

 private:
  // How many of the last frames of a step are usually seen.
  int frames_shown(const Output& output) const;
  void observe(int lane, const Output& output);
  void report(int lane, const StepResult& result, Stage attempted, int progress, const Output& output) const;
  Canvas part() const;

  std::shared_ptr<const Cartridge> cartridge_;
  BatchOptions options_;
  AreaResize resize_;
  std::vector<Lane> lanes_;
  std::vector<Episode> episodes_;
  std::vector<FrameBuffers> frame_buffers_;  // one a thread
  ThreadPool thread_pool_;
};

}  // namespace a3g
