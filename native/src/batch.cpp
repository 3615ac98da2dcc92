#include "batch.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

#include "game_state.hpp"
#include "optimisations.hpp"
#include "palette.hpp"
#include "profile.hpp"
#include "state.hpp"

namespace a3g {
namespace {

void check(int value, int smallest, int largest, const char* name) {
  if (value < smallest || value > largest)
    throw std::invalid_argument(std::string(name) + " must be " + std::to_string(smallest) + " to " + std::to_string(largest) +
                                ", not " + std::to_string(value));
}

BatchOptions checked(const BatchOptions& options, int lanes) {
  check(lanes, 1, 1 << 16, "lanes");
  check(options.frame_skip, 1, 1000, "frame_skip");
  check(options.stack, 1, 64, "stack");
  check(options.threads, 1, 1024, "threads");
  return options;
}

}  // namespace

Batch::Batch(std::shared_ptr<const Cartridge> cartridge, int lanes, const BatchOptions& options)
    : cartridge_(std::move(cartridge)),
      options_(checked(options, lanes)),
      resize_(options.crop, options.height, options.width),
      lanes_(static_cast<std::size_t>(lanes), Lane(*cartridge_)),
      episodes_(static_cast<std::size_t>(lanes), Episode(make_reward(options.reward))),
      frame_buffers_(static_cast<std::size_t>(std::min(options.threads, lanes))),
      thread_pool_(std::min(options.threads, lanes)) {}

Canvas Batch::part() const {
  static constexpr Crop kWholePicture{};
  const Crop& crop = has(Optimisation::crop) ? options_.crop : kWholePicture;
  return {.pixels = nullptr,
          .values = kGrey.data(),
          .sprites = nullptr,
          .top = crop.top,
          .bottom = crop.bottom,
          .left = crop.left,
          .right = crop.right};
}

void Batch::start(int lane, std::span<const std::uint8_t> state, Stage stage, int idle_frames, const Output& output) {
  const Clocked clocked(Part::rules);
  check(idle_frames, 1, 100'000, "idle_frames");
  load(lane, state);
  Lane& it = lanes_[lane];
  const bool draws = output.observations != nullptr;
  it.use(frame_buffers_[0], part());
  for (int left = idle_frames; left > 0; --left) it.frame(0, draws && left == 1);
  episodes_[lane].begin(it, stage, options_.time_per_stage);
  // The last picture alone, even under two_frame_max: an episode begins with it.
  if (draws) {
    const std::uint8_t* earlier = nullptr;
    const std::uint8_t* pixels = it.picture(false, &earlier);
    const std::size_t size = static_cast<std::size_t>(options_.height) * options_.width;
    std::uint8_t* first = output.observations + size * options_.stack * lane;
    resize_(pixels, nullptr, first);
    for (int i = 1; i < options_.stack; ++i) std::memcpy(first + size * i, first, size);
  }
  it.keep_last_frame();
  report(lane, {}, episodes_[lane].attempted(), episodes_[lane].progress(), output);
}

void Batch::step(const std::uint8_t* buttons, const bool* active, const Output& output) {
  const int shown = frames_shown(output);
  const auto steps = [active](int lane) { return active == nullptr || active[lane]; };
  for (int lane = 0; lane < lanes(); ++lane)
    if (steps(lane) && episodes_[lane].attempted() == Stage{})
      throw std::runtime_error("lane " + std::to_string(lane) + " has no episode yet: start one before stepping");
  thread_pool_.each(lanes(), [&](int lane, int thread) {
    if (!steps(lane)) return;
    Lane& it = lanes_[lane];
    Episode& episode = episodes_[lane];
    const Clocked clocked(Part::rules);
    it.use(frame_buffers_[thread], part());
    const Stage attempted = episode.attempted();
    const int progress = episode.progress();
    const StepResult result = episode.step(it, buttons[lane], options_.frame_skip, shown);
    if (output.observations != nullptr) observe(lane, output);
    // An attempt that has just ended is reported as it was, not the next attempt.
    if (result.outcome == Outcome::none) report(lane, result, episode.attempted(), episode.progress(), output);
    else report(lane, result, attempted, progress, output);
  });
}

void Batch::run(const std::uint8_t* buttons, int frames, const Output& output) {
  check(frames, 1, 1'000'000, "frames");
  const int shown = frames_shown(output);
  thread_pool_.each(lanes(), [&](int lane, int thread) {
    Lane& it = lanes_[lane];
    const Clocked clocked(Part::rules);
    it.use(frame_buffers_[thread], part());
    for (int left = frames; left > 0; --left) it.frame(buttons[lane], left <= shown);
    if (output.observations != nullptr) observe(lane, output);
    report(lane, {}, {}, 0, output);
  });
}

int Batch::frames_shown(const Output& output) const {
  return output.observations == nullptr ? 0 : options_.two_frame_max ? 2 : 1;
}

// Shifts the lane's stack by one picture and appends the new one.
void Batch::observe(int lane, const Output& output) {
  const std::uint8_t* earlier = nullptr;
  const std::uint8_t* pixels = lanes_[lane].picture(options_.two_frame_max, &earlier);
  const Clocked clocked(Part::resizing);
  const std::size_t size = static_cast<std::size_t>(options_.height) * options_.width;
  std::uint8_t* stack = output.observations + size * options_.stack * lane;
  std::memmove(stack, stack + size, size * (options_.stack - 1));
  resize_(pixels, earlier, stack + size * (options_.stack - 1));
}

void Batch::report(int lane, const StepResult& result, Stage attempted, int progress, const Output& output) const {
  const Ram& ram = lanes_[lane].ram();
  if (output.rewards != nullptr) output.rewards[lane] = result.reward;
  if (output.ram != nullptr) std::memcpy(output.ram + lane * ram.size(), ram.data(), ram.size());
  if (output.variables == nullptr) return;
  std::int32_t* variables = output.variables + lane * kVariables.size();
  decode(ram, variables);
  const std::int32_t ours[] = {static_cast<int>(result.outcome), result.game_over, progress, attempted.world, attempted.stage};
  std::copy(std::begin(ours), std::end(ours), variables + kVariables.size() - std::size(ours));
}

std::vector<std::uint8_t> Batch::save(int lane) const { return StateFile::save(lanes_[lane].machine(), *cartridge_); }

void Batch::load(int lane, std::span<const std::uint8_t> state) {
  Machine machine(*cartridge_);
  StateFile::load(machine, *cartridge_, state);
  lanes_[lane].replace(machine);
}

std::vector<std::uint8_t> Batch::save_game(int lane) const {
  return GameState::save(lanes_[lane], episodes_[lane], *cartridge_);
}

void Batch::load_game(int lane, std::span<const std::uint8_t> game) {
  GameState::load(lanes_[lane], episodes_[lane], *cartridge_, game);
}

}  // namespace a3g
