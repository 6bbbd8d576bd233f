// What layers of all kinds have in common, for one chunk of sentences: what they keep, the attention, what is added to the
// residual stream. That stream, norms, sums and gradients of rows are float32; what enters products is `Stored`.
#pragma once
#include "attention.h"
#include "norms.h"
#include "plan.h"
#include "rotary.h"

namespace encoder {

struct Rates {
  double attention, projected, fed_forward;  // probabilities of dropout
};

// What a layer keeps for the backward pass, one row per token (or per read token after the last layer's attention).
template <class Stored>
struct Kept {
  Stored *input, *joined, *context;     // (rows, hidden), (rows, 3 hidden) queries, keys, values, (rows, hidden)
  float* log_sums;                      // (rows, heads)
  float *middle_sum, *outer_sum;        // (rows, hidden) what the norms read
  float *middle_stats, *outer_stats;    // (rows, 2)
  // (rows, hidden); what the activation's gradient needs: its slopes, or, with gates, (rows, 2 wide) before it; (rows, wide) behind.
  Stored *attended, *widened, *active;
};

// Lays the parts of a buffer out one after the other, each at a multiple of 64 bytes; with a null base it only counts.
class Arena {
 public:
  explicit Arena(void* base) : base_(static_cast<char*>(base)) {}
  template <class T>
  T* take(int64_t count) {
    T* start = base_ ? reinterpret_cast<T*>(base_ + used_) : nullptr;
    used_ += round_up(count * int64_t(sizeof(T)), 64);
    return start;
  }
  int64_t used() const { return used_; }

 private:
  char* base_;
  int64_t used_ = 0;
};

template <class Stored>
Kept<Stored> take_kept(Arena& arena, const Shape& shape, int64_t rows, int64_t reads) {
  Kept<Stored> kept;
  kept.input = arena.take<Stored>(rows * shape.hidden);
  kept.joined = arena.take<Stored>(rows * 3 * shape.hidden);
  kept.context = arena.take<Stored>(rows * shape.hidden);
  kept.log_sums = arena.take<float>(rows * shape.heads);
  const int64_t outer = shape.pre_norm ? rows : reads;
  kept.middle_sum = arena.take<float>(reads * shape.hidden);
  kept.outer_sum = arena.take<float>(outer * shape.hidden);
  kept.middle_stats = arena.take<float>(reads * 2);
  kept.outer_stats = arena.take<float>(outer * 2);
  kept.attended = arena.take<Stored>(reads * shape.hidden);
  kept.widened = arena.take<Stored>(reads * shape.widened());
  kept.active = arena.take<Stored>(reads * shape.wide);
  return kept;
}

// The part of a chunk that starts at `row`, and at `read` after the attention.
template <class Stored>
Kept<Stored> from_row(Kept<Stored> kept, const Shape& shape, int64_t row, int64_t read) {
  kept.input += row * shape.hidden;
  kept.joined += row * 3 * shape.hidden;
  kept.context += row * shape.hidden;
  kept.log_sums += row * shape.heads;
  const int64_t outer = shape.pre_norm ? row : read;
  kept.middle_sum += read * shape.hidden;
  kept.outer_sum += outer * shape.hidden;
  kept.middle_stats += read * 2;
  kept.outer_stats += outer * 2;
  kept.attended += read * shape.hidden;
  kept.widened += read * shape.widened();
  kept.active += read * shape.wide;
  return kept;
}

// One layer's view of a call.
template <class Stored>
struct Layer {
  const Shape& shape;
  const Plan& plan;
  const float* const* parameters;  // kPointers of them
  const Stored* packed;
  WeightPlaces places;
  const float* zeros;  // for biases and shifts that are not there
  uint64_t seed;
  Rates rates;
  int64_t number;
  int64_t window;       // how many tokens away a query still sees a key; below 0: all
  const float* angles;  // (rows, head size) cosines and sines of the rotary positions, or null

  bool last() const { return number + 1 == shape.layers && !plan.reads_all; }
  const Stored* forward_weight(int linear) const { return packed + places.forward[linear]; }
  const Stored* backward_weight(int linear) const { return packed + places.backward[linear]; }
  const float* bias(int linear) const { return or_zeros(parameters[kLinears + linear]); }
  const float* shift(int norm) const { return or_zeros(parameters[norm]); }
  const float* or_zeros(const float* parameter) const { return parameter ? parameter : zeros; }
  DropoutStream stream(Site site) const {
    const double p = site == kAttention ? rates.attention : site == kProjected ? rates.projected : rates.fed_forward;
    return make_stream(seed, number, site, p);
  }
  HeadInputs<Stored> head(const Stored* joined, const Chunk& chunk, int64_t sentence, int64_t head) const {
    const int64_t hidden = shape.hidden, size = shape.head_size(), start = plan.starts[sentence];
    const Stored* query = joined + (start - chunk.first_row) * 3 * hidden + head * size;
    const DropoutStream own = stream(kAttention).part(uint32_t(start * shape.heads + head));
    return {query, query + hidden, query + 2 * hidden, 3 * hidden, plan.lengths[sentence], size,
            1.0f / std::sqrt(float(size)), window, own};
  }
};

// Rows `from` (counted from `base`) of `source` side by side.
template <class T>
inline void gather_rows(const T* source, const int32_t* from, int64_t base, int64_t rows, int64_t width, T* target) {
  for (int64_t r = 0; r < rows; r++)
    std::memcpy(target + r * width, source + (from[r] - base) * width, size_t(width) * sizeof(T));
}

template <class T>
inline void scatter_rows(const T* source, const int32_t* to, int64_t base, int64_t rows, int64_t all, int64_t width,
                         T* target) {
  std::memset(static_cast<void*>(target), 0, size_t(all * width) * sizeof(T));
  for (int64_t r = 0; r < rows; r++)
    std::memcpy(target + (to[r] - base) * width, source + r * width, size_t(width) * sizeof(T));
}

// sums (rows, hidden) = drop(a W' + bias) + residual
template <class Stored>
inline void add_linear(const Layer<Stored>& layer, int linear, DropoutStream stream, const Stored* a, int64_t rows,
                       const int32_t* places, const float* residual, float* sums, float* tile) {
  const int64_t hidden = layer.shape.hidden, depth = layer.shape.inputs(linear);
  const float* bias = layer.bias(linear);
  multiply_blocks(rows, hidden, depth, a, depth, layer.forward_weight(linear), tile,
                  [&](int64_t first, int64_t count, const float* product) {
                    for (int64_t r = 0; r < rows; r++) {
                      const int64_t at = r * hidden + first;
                      const uint32_t place = uint32_t(places[r]) * uint32_t(hidden) + uint32_t(first);
                      if (stream.active()) {
#pragma omp simd
                        for (int64_t c = 0; c < count; c++)
                          sums[at + c] = residual[at + c] +
                                         stream.drop(product[r * kBlock + c] + bias[first + c], place + uint32_t(c));
                      } else {
#pragma omp simd
                        for (int64_t c = 0; c < count; c++)
                          sums[at + c] = residual[at + c] + (product[r * kBlock + c] + bias[first + c]);
                      }
                    }
                  });
}

// Queries and keys of (rows, 3 hidden), or their gradients with direction -1, where positions are rotary.
template <class Stored>
inline void turn_chunk(const Layer<Stored>& layer, const Chunk& chunk, Stored* joined, float direction) {
  const int64_t hidden = layer.shape.hidden, size = layer.shape.head_size();
  if (layer.angles == nullptr) return;
  rotate(joined, 3 * hidden, chunk.rows, 2 * layer.shape.heads, size, layer.angles + chunk.first_row * size, direction);
}

// From kept.input to kept.context, by way of kept.joined.
template <class Stored>
inline void attend_chunk(const Layer<Stored>& layer, const Chunk& chunk, const Kept<Stored>& kept, bool keep, float* tile,
                         AttentionBuffers<Stored>& attention) {
  const int64_t hidden = layer.shape.hidden;
  for (int linear = kQuery; linear <= kValue; linear++) {
    const float* bias = layer.bias(linear);
    multiply_blocks(chunk.rows, hidden, hidden, kept.input, hidden, layer.forward_weight(linear), tile,
                    [&](int64_t first, int64_t count, const float* product) {
                      for (int64_t r = 0; r < chunk.rows; r++) {
                        Stored* row = kept.joined + r * 3 * hidden + linear * hidden + first;
#pragma omp simd
                        for (int64_t c = 0; c < count; c++)
                          row[c] = from_float<Stored>(product[r * kBlock + c] + bias[first + c]);
                      }
                    });
  }
  turn_chunk(layer, chunk, kept.joined, 1.0f);
  for (int64_t s = chunk.first_sentence; s < chunk.first_sentence + chunk.sentences; s++) {
    if (layer.plan.lengths[s] == 0) continue;
    const int64_t row = layer.plan.starts[s] - chunk.first_row;
    for (int64_t h = 0; h < layer.shape.heads; h++)
      attend(layer.head(kept.joined, chunk, s, h), kept.context + row * hidden + h * layer.shape.head_size(), hidden,
             keep ? kept.log_sums + row * layer.shape.heads + h : nullptr, layer.shape.heads, attention);
  }
}

// Buffers of one thread: rows of float32 and of Stored for one chunk.
template <class Stored>
struct ChunkBuffers {
  std::vector<float> tile, residual, sums, output, given;
  std::vector<Stored> selected, narrow, wide, joined, context, spread;

  ChunkBuffers(const Shape& shape, int64_t rows, bool backward) {
    tile.resize(rows * kBlock * (shape.pre_norm ? 2 : 1));
    for (auto* floats : {&residual, &sums, &output, &given}) floats->resize(rows * shape.hidden);
    selected.resize(rows * shape.hidden);
    if (!backward) return;
    for (auto* hidden : {&narrow, &context, &spread}) hidden->resize(rows * shape.hidden);
    wide.resize(rows * shape.widened());
    joined.resize(rows * 3 * shape.hidden);
  }
};

// What goes on after the attention: all rows of a chunk, or those that are read where this is the last layer.
template <class Stored>
struct Onward {
  int64_t rows;
  const int32_t* places;  // of the rows, in the batch
  const Stored* context;  // (rows, hidden)
  const float* residual;  // (rows, hidden)
};

template <class Stored>
inline Onward<Stored> go_on(const Layer<Stored>& layer, const Chunk& chunk, const Kept<Stored>& kept, const float* stream,
                            ChunkBuffers<Stored>& buffers) {
  const int64_t hidden = layer.shape.hidden;
  const int32_t* places = layer.plan.after(chunk, layer.last());
  if (!layer.last()) return {chunk.rows, places, kept.context, stream};
  gather_rows(kept.context, places, chunk.first_row, chunk.reads, hidden, buffers.selected.data());
  gather_rows(stream, places, chunk.first_row, chunk.reads, hidden, buffers.residual.data());
  return {chunk.reads, places, buffers.selected.data(), buffers.residual.data()};
}

}  // namespace encoder
