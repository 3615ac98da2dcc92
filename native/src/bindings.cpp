// The Python module a3g_native._core. All arguments are checked here.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <array>
#include <cstring>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "batch.hpp"
#include "cartridge.hpp"
#include "interleave.hpp"
#include "machine.hpp"
#include "maps.hpp"
#include "max_pool.hpp"
#include "palette.hpp"
#include "profile.hpp"
#include "state.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace a3g {
namespace {

using Bytes = std::span<const std::uint8_t>;

Bytes view(const nb::bytes& bytes) { return {static_cast<const std::uint8_t*>(bytes.data()), bytes.size()}; }

nb::bytes to_bytes(const std::vector<std::uint8_t>& bytes) { return nb::bytes(bytes.data(), bytes.size()); }

template <typename... Sizes>
nb::object new_array(std::vector<std::uint8_t> values, Sizes... sizes) {
  auto* owned = new std::vector<std::uint8_t>(std::move(values));
  nb::capsule owner(owned, [](void* pointer) noexcept { delete static_cast<std::vector<std::uint8_t>*>(pointer); });
  return nb::cast(nb::ndarray<nb::numpy, std::uint8_t>(owned->data(), {static_cast<std::size_t>(sizes)...}, owner));
}

std::uint8_t checked_byte(int value, const char* what) {
  if (value < 0 || value > 255)
    throw nb::value_error((std::string(what) + " must be 0 to 255, not " + std::to_string(value)).c_str());
  return static_cast<std::uint8_t>(value);
}

void refuse_if_halted(const Machine& machine) {
  if (machine.halted())
    throw std::runtime_error(
        "the CPU met an instruction that it does not have: this ROM cannot run here, or RAM was overwritten");
}

// One console with its picture.
class Emulator {
 public:
  explicit Emulator(const nb::bytes& rom) : cartridge_(Cartridge::load(view(rom))), machine_(*cartridge_) {
    pixels_.resize(Canvas::kBytes);
  }

  void reset() {
    machine_.power_on(*cartridge_);
    std::fill(pixels_.begin(), pixels_.end(), 0);
  }

  void frame(int buttons, bool draw) {
    const Canvas canvas{pixels_.data(), kIndices.data(), &sprites_};
    machine_.frame(*cartridge_, checked_byte(buttons, "the buttons"), draw ? &canvas : nullptr);
    refuse_if_halted(machine_);
  }

  nb::bytes ram() const { return nb::bytes(machine_.ram.data(), machine_.ram.size()); }
  std::uint8_t* ram_data() { return machine_.ram.data(); }

  void poke(int address, int value) {
    if (address < 0 || address >= static_cast<int>(machine_.ram.size()))
      throw nb::value_error(("the address must be 0 to 2047, not " + std::to_string(address)).c_str());
    machine_.ram[address] = checked_byte(value, "the value");
  }

  nb::bytes save() const { return to_bytes(StateFile::save(machine_, *cartridge_)); }
  void load(const nb::bytes& state) { StateFile::load(machine_, *cartridge_, view(state)); }

  // A part of the last picture drawn; each pixel is looked up in a table.
  nb::object picture(const std::array<std::uint8_t, 64>& table, int top, int bottom, int left, int right) const {
    if (top < 0 || left < 0 || bottom > 240 || right > 256 || top > bottom || left > right)
      throw nb::value_error("the part of the picture must lie within 240 rows and 256 columns");
    std::vector<std::uint8_t> result(static_cast<std::size_t>((bottom - top) * (right - left)));
    std::uint8_t* to = result.data();
    for (int y = top; y < bottom; ++y)
      for (int x = left; x < right; ++x) *to++ = table[pixel(y, x)];
    return new_array(std::move(result), bottom - top, right - left);
  }
  nb::object rgb() const {
    std::vector<std::uint8_t> result(240 * 256 * 3);
    for (int y = 0; y < 240; ++y)
      for (int x = 0; x < 256; ++x) std::memcpy(&result[(y * 256 + x) * 3], kRgb[pixel(y, x)].data(), 3);
    return new_array(std::move(result), 240, 256, 3);
  }

 private:
  std::uint8_t pixel(int y, int x) const { return pixels_[y * Canvas::kStride + Canvas::kMargin + x] & 0x3F; }

  std::shared_ptr<const Cartridge> cartridge_;
  Machine machine_;
  std::vector<std::uint8_t> pixels_;
  LineSprites sprites_;
};

// ---- the caller's arrays

std::string shape_of(const std::vector<std::size_t>& shape) {
  std::string text = "(";
  for (std::size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + (shape.size() == 1 ? ",)" : ")");
}

// The data of a C-contiguous array of this type and shape. Throws an exception that says what is wrong with others.
template <typename T>
T* checked_array(const nb::object& object, const char* name, const std::vector<std::size_t>& shape, bool writable = true) {
  using Array = nb::ndarray<>;
  using ReadOnly = nb::ndarray<nb::ro>;
  const auto type_error = [name](const std::string& sentence) {
    throw nb::type_error((std::string(name) + " " + sentence).c_str());
  };
  const auto value_error = [name](const std::string& sentence) {
    throw nb::value_error((std::string(name) + " " + sentence).c_str());
  };
  ReadOnly array;
  if (!nb::try_cast(object, array, false)) type_error("must be a NumPy array");
  if (writable) {
    Array test;
    if (!nb::try_cast(object, test, false)) value_error("must be writable");
  }
  if (array.dtype() != nb::dtype<T>()) {
    const char* wanted = std::is_same_v<T, float>           ? "float32"
                         : std::is_same_v<T, std::int32_t>  ? "int32"
                         : std::is_same_v<T, std::uint16_t> ? "uint16"
                         : std::is_same_v<T, bool>          ? "bool"
                                                            : "uint8";
    type_error(std::string("must be of dtype ") + wanted);
  }
  std::vector<std::size_t> actual;
  for (std::size_t i = 0; i < array.ndim(); ++i) actual.push_back(array.shape(i));
  if (actual != shape) value_error("must have the shape " + shape_of(shape) + ", not " + shape_of(actual));
  std::int64_t stride = 1;
  for (std::size_t i = shape.size(); i-- > 0; stride *= static_cast<std::int64_t>(shape[i]))
    if (shape[i] != 1 && array.stride(i) != stride) value_error("must be C-contiguous");
  return const_cast<T*>(static_cast<const T*>(array.data()));
}

// The shape of an array of 4 dimensions; `dimensions` names them in the exception for other arrays.
std::vector<std::size_t> checked_shape(const nb::object& object, const char* name, const char* dimensions) {
  std::vector<std::size_t> shape;
  nb::ndarray<nb::ro> array;
  if (nb::try_cast(object, array, false))
    for (std::size_t i = 0; i < array.ndim(); ++i) shape.push_back(array.shape(i));
  if (shape.size() != 4) throw nb::value_error((std::string(name) + " must have 4 dimensions: " + dimensions).c_str());
  return shape;
}

template <typename T>
void interleave_checked(const nb::object& pictures, const nb::object& table, const nb::object& result) {
  const std::vector<std::size_t> shape = checked_shape(pictures, "pictures", "(n, stack, height, width)");
  const auto [n, stack, height, width] = std::array{shape[0], shape[1], shape[2], shape[3]};
  const std::uint8_t* from = checked_array<std::uint8_t>(pictures, "pictures", shape, false);
  const T* values = checked_array<T>(table, "table", {256}, false);
  T* to = checked_array<T>(result, "result", {n, height, width, stack});
  const nb::gil_scoped_release released;
  interleave(from, n, stack, height * width, values, to);
}

void interleave_arrays(const nb::object& pictures, const nb::object& table, const nb::object& result) {
  nb::ndarray<nb::ro> array;
  if (nb::try_cast(table, array, false) && array.dtype() == nb::dtype<std::uint16_t>())
    interleave_checked<std::uint16_t>(pictures, table, result);
  else interleave_checked<float>(pictures, table, result);
}

void write_maps(const nb::object& ram, const nb::object& maps) {
  const std::size_t lanes = checked_shape(maps, "maps", "(lanes, 1, 1, bytes)")[0];
  const std::uint8_t* from = checked_array<std::uint8_t>(ram, "ram", {lanes, std::tuple_size_v<Ram>}, false);
  std::uint8_t* to = checked_array<std::uint8_t>(maps, "maps", {lanes, 1, 1, kMapBytes});
  const nb::gil_scoped_release released;
  for (std::size_t lane = 0; lane < lanes; ++lane) write_map(from + lane * std::tuple_size_v<Ram>, to + lane * kMapBytes);
}

// The shape that is pooled, and the shape of the result.
std::pair<PoolShape, std::vector<std::size_t>> pool_shapes(const std::vector<std::size_t>& shape) {
  const PoolShape pool{shape[0], shape[1], shape[2], shape[3]};
  if (pool.channels % kPoolChannels || pool.height == 0 || pool.width == 0)
    throw nb::value_error(
        ("the channels must be a multiple of " + std::to_string(kPoolChannels) + ", and pictures not empty").c_str());
  return {pool, {pool.count, pool.rows(), pool.columns(), pool.channels}};
}

void max_pool_arrays(const nb::object& x, const nb::object& y, const nb::object& winners) {
  const std::vector<std::size_t> shape = checked_shape(x, "x", "(n, height, width, channels)");
  const auto [pool, pooled] = pool_shapes(shape);
  const auto* from = checked_array<std::uint16_t>(x, "x", shape, false);
  auto* to = checked_array<std::uint16_t>(y, "y", pooled);
  auto* places = checked_array<std::uint8_t>(winners, "winners", pooled);
  const nb::gil_scoped_release released;
  max_pool(from, pool, to, places);
}

void max_pool_gradient_arrays(const nb::object& gradient, const nb::object& winners, const nb::object& result) {
  const std::vector<std::size_t> shape = checked_shape(result, "result", "(n, height, width, channels)");
  const auto [pool, pooled] = pool_shapes(shape);
  const auto* from = checked_array<std::uint16_t>(gradient, "gradient", pooled, false);
  const auto* places = checked_array<std::uint8_t>(winners, "winners", pooled, false);
  auto* to = checked_array<std::uint16_t>(result, "result", shape);
  const nb::gil_scoped_release released;
  max_pool_gradient(from, places, pool, to);
}

// Many games. They fill the caller's arrays.
class PyBatch {
 public:
  PyBatch(const nb::bytes& rom, int lanes, int frame_skip, int stack, int height, int width, bool two_frame_max,
          int time_per_stage, const std::string& reward, const std::array<int, 4>& crop, int threads)
      : batch_(Cartridge::load(view(rom)), lanes,
               {.frame_skip = frame_skip,
                .stack = stack,
                .height = height,
                .width = width,
                .crop = {crop[0], crop[1], crop[2], crop[3]},
                .two_frame_max = two_frame_max,
                .time_per_stage = time_per_stage,
                .reward = reward,
                .threads = threads}) {}

  void start(int lane, const nb::bytes& state, std::optional<std::array<int, 2>> stage, int idle_frames,
             const nb::object& observations, const nb::object& rewards, const nb::object& variables, const nb::object& ram) {
    batch_.start(checked_lane(lane), view(state), stage ? Stage{(*stage)[0], (*stage)[1]} : Stage{}, idle_frames,
                 output(observations, rewards, variables, ram));
  }

  void step(const nb::object& buttons, const nb::object& observations, const nb::object& rewards, const nb::object& variables,
            const nb::object& ram, const nb::object& active) {
    const std::uint8_t* held = checked_array<std::uint8_t>(buttons, "buttons", {lanes()}, false);
    const bool* stepped = active.is_none() ? nullptr : checked_array<bool>(active, "active", {lanes()}, false);
    const Output to = output(observations, rewards, variables, ram);
    const nb::gil_scoped_release released;
    batch_.step(held, stepped, to);
  }

  void run(const nb::object& buttons, int frames, const nb::object& observations, const nb::object& variables,
           const nb::object& ram) {
    const std::uint8_t* held = checked_array<std::uint8_t>(buttons, "buttons", {lanes()}, false);
    const Output to = output(observations, nb::none(), variables, ram);
    const nb::gil_scoped_release released;
    batch_.run(held, frames, to);
  }

  nb::bytes save(int lane) const { return to_bytes(batch_.save(checked_lane(lane))); }
  void load(int lane, const nb::bytes& state) { batch_.load(checked_lane(lane), view(state)); }
  nb::bytes save_game(int lane) const { return to_bytes(batch_.save_game(checked_lane(lane))); }
  void load_game(int lane, const nb::bytes& game) { batch_.load_game(checked_lane(lane), view(game)); }

  std::size_t lanes() const { return static_cast<std::size_t>(batch_.lanes()); }

 private:
  int checked_lane(int lane) const {
    if (lane < 0 || lane >= batch_.lanes())
      throw nb::index_error(("there is no lane " + std::to_string(lane) + " among " + std::to_string(batch_.lanes())).c_str());
    return lane;
  }
  Output output(const nb::object& observations, const nb::object& rewards, const nb::object& variables,
                const nb::object& ram) const {
    const BatchOptions& options = batch_.options();
    const auto size = [](int value) { return static_cast<std::size_t>(value); };
    Output to;
    if (!observations.is_none())
      to.observations = checked_array<std::uint8_t>(observations, "observations",
                                                    {lanes(), size(options.stack), size(options.height), size(options.width)});
    if (!rewards.is_none()) to.rewards = checked_array<float>(rewards, "rewards", {lanes()});
    if (!variables.is_none()) to.variables = checked_array<std::int32_t>(variables, "variables", {lanes(), kVariables.size()});
    if (!ram.is_none()) to.ram = checked_array<std::uint8_t>(ram, "ram", {lanes(), Ram{}.size()});
    return to;
  }

  Batch batch_;
};

}  // namespace
}  // namespace a3g

NB_MODULE(_core, module) {
  using namespace a3g;
  module.doc() = "A fast, exact core for Super Mario Bros.";
  nb::register_exception_translator([](const std::exception_ptr& pointer, void*) {
    try {
      std::rethrow_exception(pointer);
    } catch (const std::invalid_argument& error) {
      PyErr_SetString(PyExc_ValueError, error.what());
    }
  });

  nb::class_<Emulator>(module, "Emulator", "One console with an NROM-256 cartridge in it, and its picture.")
      .def(nb::init<const nb::bytes&>(), "rom"_a, "Switch the console on. ValueError: not an iNES file of NROM-256.")
      .def("reset", &Emulator::reset, "Switch the console off and on.")
      .def("frame", &Emulator::frame, "buttons"_a, "draw"_a = true,
           "Run one frame; bits 0 to 7 are A, B, SELECT, START, UP, DOWN, LEFT, RIGHT. Without `draw` the picture stays.")
      .def("ram", &Emulator::ram, "A copy of the 2,048 bytes of work RAM.")
      .def(
          "ram_view",
          [](nb::handle_t<Emulator> self) {
            return nb::ndarray<nb::numpy, std::uint8_t>(nb::cast<Emulator&>(self).ram_data(), {2048}, self);
          },
          "The work RAM itself, uint8 (2048,): reads what is there now, and writing changes it.")
      .def("poke", &Emulator::poke, "address"_a, "value"_a, "Write one byte of work RAM.")
      .def("save", &Emulator::save, "The whole state, as bytes with a version and a checksum.")
      .def("load", &Emulator::load, "state"_a,
           "Continue from a saved state; the picture stays until the next frame. ValueError: damaged, or of another ROM.")
      .def(
          "indices", [](const Emulator& self) { return self.picture(kIndices, 0, 240, 0, 256); },
          "The picture as palette indices, uint8 (240, 256).")
      .def(
          "grey",
          [](const Emulator& self, int top, int bottom, int left, int right) {
            return self.picture(kGrey, top, bottom, left, right);
          },
          "top"_a = 0, "bottom"_a = 240, "left"_a = 0, "right"_a = 256,
          "The picture or a part of it in grey, uint8 (bottom - top, right - left).")
      .def("rgb", &Emulator::rgb, "The picture, uint8 (240, 256, 3).");

  nb::class_<PyBatch>(module, "Batch",
                      "Many games with episode rules, stepped by one call without the GIL.\n\n"
                      "Not to be used from two Python threads at once. Arrays given are filled in place; each must be "
                      "C-contiguous and of the shape and dtype said.")
      .def(nb::init<const nb::bytes&, int, int, int, int, int, bool, int, const std::string&, const std::array<int, 4>&, int>(),
           "rom"_a, "lanes"_a, nb::kw_only(), "frame_skip"_a = 4, "stack"_a = 4, "height"_a = 80, "width"_a = 80,
           "two_frame_max"_a = false, "time_per_stage"_a = 300, "reward"_a = "a3g",
           "crop"_a = std::array<int, 4>{15, 215, 43, 243}, "threads"_a = 1,
           "crop: top, bottom, left, right of the visible part of the 240 x 256 picture. reward: one of "
           "REWARDS. ValueError: wrong ROM or option.")
      .def("start", &PyBatch::start, "lane"_a, "state"_a, "stage"_a.none(), "idle_frames"_a,
           "observations"_a.none() = nb::none(), "rewards"_a.none() = nb::none(), "variables"_a.none() = nb::none(),
           "ram"_a.none() = nb::none(),
           "Begin an episode in a lane from a save state; `stage` is (world, stage) or None for the whole game. Fills "
           "that lane's row of the arrays, its whole stack with the picture after `idle_frames` frames. Without "
           "`observations` nothing is drawn.")
      .def("step", &PyBatch::step, "buttons"_a.none(), "observations"_a.none() = nb::none(), "rewards"_a.none() = nb::none(),
           "variables"_a.none() = nb::none(), "ram"_a.none() = nb::none(), "active"_a.none() = nb::none(),
           "One agent step in every lane. buttons: uint8 (lanes,); observations: uint8 (lanes, stack, height, width), "
           "shifted by one picture; rewards: float32 (lanes,), in the reward's own unit; variables: int32 (lanes, "
           "len(VARIABLES)); ram: uint8 (lanes, 2048); active: bool (lanes,), lanes that are False are neither stepped nor "
           "written. Without `observations` nothing is drawn.")
      .def("run", &PyBatch::run, "buttons"_a.none(), "frames"_a, "observations"_a.none() = nb::none(),
           "variables"_a.none() = nb::none(), "ram"_a.none() = nb::none(),
           "Run `frames` frames in every lane without rules; `observations` is shifted by one picture.")
      .def("save", &PyBatch::save, "lane"_a, "The console of a lane, as `Emulator.save` gives it.")
      .def("load", &PyBatch::load, "lane"_a, "state"_a,
           "Put a saved console into a lane. ValueError: damaged, or of another ROM.")
      .def("save_game", &PyBatch::save_game, "lane"_a,
           "A lane's console with its last frames, and the state of its episode: all that its next steps depend on.")
      .def("load_game", &PyBatch::load_game, "lane"_a, "game"_a,
           "Continue a saved game in a lane. ValueError: damaged, or of another ROM.")
      .def_prop_ro("lanes", &PyBatch::lanes);

  module.def(
      "interleave", &interleave_arrays, "pictures"_a, "table"_a, "result"_a,
      "Look up every byte of pictures in a table, uint16 or float32 (256,), and write the results, of the same type, channels "
      "last: pictures uint8 (n, stack, height, width), result (n, height, width, stack).");

  module.def(
      "write_maps", &write_maps, "ram"_a, "maps"_a,
      "Draw what is around Mario, as a3g.game.map_observation does: ram, uint8 (lanes, 2048), to maps, uint8 (lanes, 1, 1, "
      "1196).");

  module.def("max_pool", &max_pool_arrays, "x"_a, "y"_a, "winners"_a,
             "Max pooling of 3 x 3 windows, stride 2, padding 1: x, bfloat16 as uint16 (n, height, width, channels), to y, (n, "
             "(height + 1) // 2, (width + 1) // 2, channels); winners, uint8 of y's shape, takes each window's place of its "
             "first largest number.");
  module.def("max_pool_gradient", &max_pool_gradient_arrays, "gradient"_a, "winners"_a, "result"_a,
             "The gradient of max_pool's x from y's.");

#ifdef A3G_PROFILE
  module.def(
      "take_profile",
      [] {
        nb::dict parts;
        const auto taken = take_profile();
        for (std::size_t i = 0; i < taken.size(); ++i) parts[kPartNames[i]] = nb::make_tuple(taken[i].ticks, taken[i].clocks);
        return parts;
      },
      "For each part of the core the clock ticks since the last call, and how many of them reading the clock took.");
#endif

  nb::list variables;
  for (const std::string_view name : kVariables) variables.append(nb::str(name.data(), name.size()));
  module.attr("VARIABLES") = nb::tuple(variables);

  nb::list rewards;
  for (const std::string_view name : reward_names()) rewards.append(nb::str(name.data(), name.size()));
  module.attr("REWARDS") = nb::tuple(rewards);
}
