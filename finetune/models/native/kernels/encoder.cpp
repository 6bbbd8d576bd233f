// The encoder's layers of one batch of packed sentences: one call forward, one backward, called from Python through ctypes.
//
// Threads take whole chunks of sentences through all layers, so there is no barrier between layers. The backward pass stops at
// a few barriers, where the gradients of some layers' weights are multiplied over all rows. Nothing is kept between calls.
#include <memory>

#include "post_norm.h"
#include "post_norm_backward.h"
#include "pre_norm.h"
#include "pre_norm_backward.h"
#include "sharing.h"

namespace encoder {

struct Call {
  Shape shape;
  Rates rates;
  uint64_t seed;
  int64_t sentences, threads;
  const int32_t* lengths;
  const uint8_t* read;               // null: all rows
  const int64_t* windows;            // (layers,) tokens away that a query still sees, below 0: all; null: all in every layer
  const float* const* angles;        // (layers,) of (rows, 2, head size / 2) cosines and sines; null: no rotary positions
  const float* const* parameters;    // (layers, kPointers)
  const void* packed;                // of (layers, WeightPlaces::size) Stored
  void* kept;                        // null: nothing goes backward
  float* const* gradients;           // (layers, kPointers), null where none is wanted; bias and norm gradients are set, too
  int64_t lowest;                    // layers from here on have gradients
  int64_t operand_bytes;             // memory that operands of weight gradients may take, beyond those of one layer
};

template <class Stored>
struct Workers {
  std::vector<ChunkBuffers<Stored>> chunks;
  std::vector<AttentionBuffers<Stored>> attention;

  Workers(const Call& call, const Plan& plan, bool backward) {
    for (int64_t thread = 0; thread < call.threads; thread++) {
      chunks.emplace_back(call.shape, plan.most_rows, backward);
      attention.emplace_back(plan.longest, call.shape.head_size(), backward);
    }
  }
};

// zeros: as many as the longest bias; null where none is read.
template <class Stored>
Layer<Stored> make_layer(const Call& call, const Plan& plan, const float* zeros, int64_t number) {
  const WeightPlaces places(call.shape);
  return {call.shape, plan, call.parameters + number * kPointers,
          static_cast<const Stored*>(call.packed) + number * places.size, places, zeros, call.seed, call.rates, number,
          call.windows ? call.windows[number] : -1, call.angles ? call.angles[number] : nullptr};
}

template <class Stored>
std::vector<Kept<Stored>> take_all_kept(Arena& arena, const Call& call, const Plan& plan) {
  std::vector<Kept<Stored>> kept;
  for (int64_t l = 0; l < call.shape.layers; l++) {
    const bool last = l + 1 == call.shape.layers;
    kept.push_back(take_kept<Stored>(arena, call.shape, plan.rows, last ? int64_t(plan.read_rows.size()) : plan.rows));
  }
  return kept;
}

template <class Stored>
void run_forward(const Call& call, const float* input, float* output) {
  const Plan plan(call.lengths, call.sentences, call.read);
  const Shape& shape = call.shape;
  const int64_t hidden = shape.hidden;
  Workers<Stored> workers(call, plan, false);
  Arena arena(call.kept);
  const auto kept = call.kept ? take_all_kept<Stored>(arena, call, plan) : std::vector<Kept<Stored>>();
  const std::vector<float> zeros(std::max(shape.hidden, shape.wide), 0.0f);
  Arena counted(nullptr);
  take_kept<Stored>(counted, shape, plan.most_rows, plan.most_rows);
  std::vector<std::vector<char>> scratch(call.kept ? 0 : call.threads, std::vector<char>(counted.used() + 64));
  share_out(int64_t(plan.chunks.size()), call.threads, [&](int64_t task, int thread) {
    const Chunk& chunk = plan.chunks[task];
    ChunkBuffers<Stored>& buffers = workers.chunks[thread];
    float* stream = buffers.output.data();
    std::memcpy(stream, input + chunk.first_row * hidden, size_t(chunk.rows * hidden) * 4);
    Kept<Stored> own{};
    if (!call.kept) {
      Arena again(reinterpret_cast<void*>(round_up(reinterpret_cast<int64_t>(scratch[thread].data()), 64)));
      own = take_kept<Stored>(again, shape, plan.most_rows, plan.most_rows);
    }
    for (int64_t l = 0; l < shape.layers; l++) {
      const Layer<Stored> layer = make_layer<Stored>(call, plan, zeros.data(), l);
      const int64_t read = layer.last() ? chunk.first_read : chunk.first_row;
      const Kept<Stored> now = call.kept ? from_row(kept[l], shape, chunk.first_row, read) : own;
      if (shape.pre_norm) {
        run_pre_norm(layer, chunk, now, call.kept != nullptr, stream, buffers, workers.attention[thread]);
        continue;
      }
      if (l == 0)
        for (int64_t i = 0; i < chunk.rows * hidden; i++) now.input[i] = from_float<Stored>(stream[i]);
      const bool more = l + 1 < shape.layers;
      Stored* next = !more ? buffers.selected.data() : call.kept ? kept[l + 1].input + chunk.first_row * hidden : own.input;
      run_post_norm(layer, chunk, now, call.kept != nullptr, stream, next, buffers, workers.attention[thread]);
    }
    if (plan.reads_all)
      std::memcpy(output + chunk.first_row * hidden, stream, size_t(chunk.rows * hidden) * 4);
    else
      scatter_rows(stream, plan.after(chunk, true), chunk.first_row, chunk.reads, chunk.rows, hidden,
                   output + chunk.first_row * hidden);
  });
}

// One strip of 64 rows of one weight's gradient.
struct WeightTask {
  int64_t layer;
  int linear;
  int64_t first;
};

template <class Stored>
void run_weight_task(const Call& call, const Plan& plan, const WeightOperands<Stored>& operands, const WeightTask& task,
                     float* tile) {
  const Shape& shape = call.shape;
  const bool last = task.layer + 1 == shape.layers && !plan.reads_all;
  const int64_t rows = last && task.linear > kValue ? plan.aligned_reads : plan.aligned_rows;
  const Stored* across[] = {operands.joined[0], operands.joined[1], operands.joined[2],
                            operands.projected, operands.widened[0], operands.widened[1], operands.narrowed};
  const Stored* packed[] = {operands.input,    operands.input,    operands.input, operands.context,
                            operands.attended, operands.attended, operands.active};
  multiply_weight_gradient(across[task.linear], packed[task.linear], task.first, shape.outputs(task.linear),
                           shape.inputs(task.linear), rows, call.gradients[task.layer * kPointers + task.linear], tile);
}

// The sums of all chunks, in their order, become gradients of biases and norms.
inline void add_bias_sums(const Call& call, const std::vector<float>& sums, int64_t chunks, int64_t layer) {
  const Shape& shape = call.shape;
  const int64_t size = shape.bias_sums(), stride = shape.layers * size;
  std::vector<float> total(size, 0.0f);
  for (int64_t chunk = 0; chunk < chunks; chunk++)
    for (int64_t i = 0; i < size; i++) total[i] += sums[chunk * stride + layer * size + i];
  const BiasSums places{total.data(), shape};
  float* const* gradients = call.gradients + layer * kPointers;
  for (int linear = 0; linear < kLinears; linear++)
    if (gradients[kLinears + linear])
      std::memcpy(gradients[kLinears + linear], places.bias(linear), size_t(shape.outputs(linear)) * 4);
  for (int norm = kMiddleGain; norm < kPointers; norm++)
    if (gradients[norm]) std::memcpy(gradients[norm], places.norm(norm), size_t(shape.hidden) * 4);
}

// gradient (rows, hidden) holds that of the output and becomes that of the input.
template <class Stored>
void run_backward(const Call& call, float* gradient) {
  const Plan plan(call.lengths, call.sentences, call.read);
  const Shape& shape = call.shape;
  Workers<Stored> workers(call, plan, true);
  Arena arena(call.kept);
  const auto kept = take_all_kept<Stored>(arena, call, plan);
  const int64_t chunks = int64_t(plan.chunks.size());
  std::vector<float> sums(chunks * shape.layers * shape.bias_sums(), 0.0f);
  Arena counted(nullptr);
  WeightOperands<Stored>(counted, shape, plan.aligned_rows, plan.aligned_rows);
  const int64_t together = std::max<int64_t>(1, std::min(shape.layers, call.operand_bytes / std::max<int64_t>(counted.used(), 1)));
  std::unique_ptr<char[]> memory(new char[counted.used() * together + 64]);
  std::vector<std::vector<float>> tiles(call.threads, std::vector<float>(64 * kBlock));
  for (int64_t top = shape.layers; top > call.lowest; top -= together) {
    const int64_t bottom = std::max(call.lowest, top - together);
    Arena operand_arena(reinterpret_cast<void*>(round_up(reinterpret_cast<int64_t>(memory.get()), 64)));
    std::vector<WeightOperands<Stored>> operands;
    std::vector<WeightTask> tasks;
    for (int64_t l = top - 1; l >= bottom; l--) {
      const bool last = l + 1 == shape.layers && !plan.reads_all;
      operands.emplace_back(operand_arena, shape, plan.aligned_rows, last ? plan.aligned_reads : plan.aligned_rows);
      for (int linear = kLinears - 1; linear >= 0; linear--)
        for (int64_t first = 0; call.gradients[l * kPointers + linear] && first < shape.outputs(linear); first += kBlock)
          tasks.push_back({l, linear, first});
    }
    share_out(chunks, call.threads, [&](int64_t task, int thread) {
      const Chunk& chunk = plan.chunks[task];
      for (int64_t l = top - 1; l >= bottom; l--) {
        const Layer<Stored> layer = make_layer<Stored>(call, plan, nullptr, l);
        const Kept<Stored> own = from_row(kept[l], shape, chunk.first_row, layer.last() ? chunk.first_read : chunk.first_row);
        const BiasSums biases{sums.data() + (task * shape.layers + l) * shape.bias_sums(), shape};
        float* rows = gradient + chunk.first_row * shape.hidden;
        if (shape.pre_norm)
          run_pre_norm_backward(layer, chunk, own, rows, biases, workers.chunks[thread], workers.attention[thread]);
        else
          run_post_norm_backward(layer, chunk, own, rows, biases, workers.chunks[thread], workers.attention[thread]);
        write_operands(layer, chunk, own, workers.chunks[thread], operands[top - 1 - l]);
      }
    });
    share_out(int64_t(tasks.size()), call.threads, [&](int64_t task, int thread) {
      run_weight_task(call, plan, operands[top - 1 - tasks[task].layer], tasks[task], tiles[thread].data());
    });
    for (int64_t l = bottom; l < top; l++) add_bias_sums(call, sums, chunks, l);
  }
}

template <class Stored>
void pack_weights(const Shape& shape, const float* const* parameters, Stored* packed, int64_t threads) {
  const WeightPlaces places(shape);
  share_out(shape.layers * kLinears * 2, threads, [&](int64_t task, int) {
    const int64_t layer = task / (2 * kLinears), linear = task / 2 % kLinears;
    const int64_t outputs = shape.outputs(int(linear)), inputs = shape.inputs(int(linear));
    const float* weight = parameters[layer * kPointers + linear];
    Stored* own = packed + layer * places.size;
    if (task % 2)
      pack(weight, inputs, outputs, inputs, own + places.backward[linear]);
    else
      pack_transposed(weight, inputs, inputs, outputs, own + places.forward[linear]);
  });
}

}  // namespace encoder

using namespace encoder;

extern "C" {

// Bytes per number of what enters products: 2 where this build has bfloat16 products, else only 4 can be asked for.
int encoder_has_bfloat16() {
#if defined(ENCODER_BRGEMM) || defined(__AVX512BF16__)
  return 1;
#else
  return 0;
#endif
}

// A digest (FNV-1a) of 64 values of each weight, spread evenly.
uint32_t encoder_fingerprint(const Shape* shape, const float* const* parameters) {
  uint32_t digest = 2166136261u;
  for (int64_t layer = 0; layer < shape->layers; layer++) {
    for (int linear = 0; linear < kLinears; linear++) {
      const int64_t size = shape->outputs(linear) * shape->inputs(linear), stride = std::max<int64_t>(1, size / 64);
      for (int64_t i = 0; i < size; i += stride)
        digest = (digest ^ reinterpret<uint32_t>(parameters[layer * kPointers + linear][i])) * 16777619u;
    }
  }
  return digest;
}

int64_t encoder_packed_numbers(const Shape* shape) { return WeightPlaces(*shape).size * shape->layers; }

int64_t encoder_kept_bytes(const Call* call, int bfloat16_products) {
  const Plan plan(call->lengths, call->sentences, call->read);
  Arena counted(nullptr);
  if (bfloat16_products)
    take_all_kept<bfloat16>(counted, *call, plan);
  else
    take_all_kept<float>(counted, *call, plan);
  return counted.used();
}

#if defined(ENCODER_BRGEMM) || defined(__AVX512BF16__)
#define FOR_NUMBERS(what, ...) (bfloat16_products ? what<bfloat16>(__VA_ARGS__) : what<float>(__VA_ARGS__))
#else
#define FOR_NUMBERS(what, ...) what<float>(__VA_ARGS__)
#endif

int encoder_pack(const Shape* shape, const float* const* parameters, void* packed, int64_t threads, int bfloat16_products) {
  return guarded([&] {
#if defined(ENCODER_BRGEMM) || defined(__AVX512BF16__)
    if (bfloat16_products) return pack_weights(*shape, parameters, static_cast<bfloat16*>(packed), threads);
#endif
    pack_weights(*shape, parameters, static_cast<float*>(packed), threads);
  });
}

int encoder_forward(const Call* call, const float* input, float* output, int bfloat16_products) {
  return guarded([&] { FOR_NUMBERS(run_forward, *call, input, output); });
}

int encoder_backward(const Call* call, float* gradient, int bfloat16_products) {
  return guarded([&] { FOR_NUMBERS(run_backward, *call, gradient); });
}

}  // extern "C"
