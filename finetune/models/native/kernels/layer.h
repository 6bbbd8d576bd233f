// One layer of a BERT encoder for one chunk of sentences, forward and backward.
//
//   x1 = norm(h + drop(attention(h) Wo' + bo));  y = norm(x1 + drop(gelu(x1 Wi' + bi) Wf' + bf))
//
// (Devlin et al., https://arxiv.org/abs/1810.04805.) The residual stream h, norms, sums and gradients of rows are float32; what
// enters products is `Stored`.
#pragma once
#include "attention.h"
#include "norms.h"
#include "plan.h"

namespace encoder {

struct Rates {
  double attention, projected, fed_forward;  // probabilities of dropout
};

// What a layer keeps for the backward pass, one row per token (or per read token after the last layer's attention).
template <class Stored>
struct Kept {
  Stored *input, *joined, *context;     // (rows, hidden), (rows, 3 hidden) queries, keys, values, (rows, hidden)
  float* log_sums;                      // (rows, heads)
  float *attended_sum, *output_sum;     // (rows, hidden) what the norms read
  float *attended_stats, *output_stats; // (rows, 2)
  Stored *attended, *widened, *active;  // (rows, hidden), (rows, wide) before and (rows, wide) after GELU
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
  kept.attended_sum = arena.take<float>(reads * shape.hidden);
  kept.output_sum = arena.take<float>(reads * shape.hidden);
  kept.attended_stats = arena.take<float>(reads * 2);
  kept.output_stats = arena.take<float>(reads * 2);
  kept.attended = arena.take<Stored>(reads * shape.hidden);
  kept.widened = arena.take<Stored>(reads * shape.wide);
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
  for (float** sums : {&kept.attended_sum, &kept.output_sum}) *sums += read * shape.hidden;
  for (float** stats : {&kept.attended_stats, &kept.output_stats}) *stats += read * 2;
  kept.attended += read * shape.hidden;
  for (Stored** wide : {&kept.widened, &kept.active}) *wide += read * shape.wide;
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
  uint64_t seed;
  Rates rates;
  int64_t number;

  bool last() const { return number + 1 == shape.layers && !plan.reads_all; }
  const Stored* forward_weight(int linear) const { return packed + places.forward[linear]; }
  const Stored* backward_weight(int linear) const { return packed + places.backward[linear]; }
  const float* bias(int linear) const { return parameters[kLinears + linear]; }
  DropoutStream stream(Site site) const {
    const double p = site == kAttention ? rates.attention : site == kProjected ? rates.projected : rates.fed_forward;
    return make_stream(seed, number, site, p);
  }
  HeadInputs<Stored> head(const Stored* joined, const Chunk& chunk, int64_t sentence, int64_t head) const {
    const int64_t hidden = shape.hidden, size = shape.head_size(), start = plan.starts[sentence];
    const Stored* query = joined + (start - chunk.first_row) * 3 * hidden + head * size;
    const DropoutStream own = stream(kAttention).part(uint32_t(start * shape.heads + head));
    return {query, query + hidden, query + 2 * hidden, 3 * hidden, plan.lengths[sentence], size,
            1.0f / std::sqrt(float(size)), own};
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
inline void add_linear(const Layer<Stored>& layer, int linear, Site site, const Stored* a, int64_t rows,
                       const int32_t* places, const float* residual, float* sums, float* tile) {
  const int64_t hidden = layer.shape.hidden, depth = layer.shape.inputs(linear);
  const float* bias = layer.bias(linear);
  const DropoutStream stream = layer.stream(site);
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
    tile.resize(rows * kBlock);
    for (auto* floats : {&residual, &sums, &output, &given}) floats->resize(rows * shape.hidden);
    selected.resize(rows * shape.hidden);
    if (!backward) return;
    for (auto* hidden : {&narrow, &context, &spread}) hidden->resize(rows * shape.hidden);
    wide.resize(rows * shape.wide);
    joined.resize(rows * 3 * shape.hidden);
  }
};

// stream (rows, hidden) float32 holds the layer's input and becomes its output; `next` (rows, hidden) is its copy for the next
// layer. In the last layer both hold the rows that are read alone.
template <class Stored>
void run_layer(const Layer<Stored>& layer, const Chunk& chunk, const Kept<Stored>& kept, bool keep, float* stream,
               Stored* next, ChunkBuffers<Stored>& buffers, AttentionBuffers<Stored>& attention) {
  const int64_t hidden = layer.shape.hidden, wide = layer.shape.wide;
  const float epsilon = float(layer.shape.epsilon);
  float* tile = buffers.tile.data();
  attend_chunk(layer, chunk, kept, keep, tile, attention);
  const int64_t rows = layer.last() ? chunk.reads : chunk.rows;
  const int32_t* places = layer.plan.after(chunk, layer.last());
  const Stored* context = kept.context;
  const float* residual = stream;
  if (layer.last()) {
    gather_rows(kept.context, places, chunk.first_row, rows, hidden, buffers.selected.data());
    gather_rows(stream, places, chunk.first_row, rows, hidden, buffers.residual.data());
    context = buffers.selected.data();
    residual = buffers.residual.data();
  }
  const float* const* p = layer.parameters;
  add_linear(layer, kProjection, kProjected, context, rows, places, residual, kept.attended_sum, tile);
  normalise(kept.attended_sum, rows, hidden, epsilon, p[kAttentionGain], p[kAttentionShift], kept.attended_stats,
            buffers.sums.data(), kept.attended);
  const float* bias = layer.bias(kWiden);
  multiply_blocks(rows, wide, hidden, kept.attended, hidden, layer.forward_weight(kWiden), tile,
                  [&](int64_t first, int64_t count, const float* product) {
                    for (int64_t r = 0; r < rows; r++) {
                      Stored *before = kept.widened + r * wide + first, *after = kept.active + r * wide + first;
#pragma omp simd
                      for (int64_t c = 0; c < count; c++) {
                        const float value = product[r * kBlock + c] + bias[first + c];
                        before[c] = from_float<Stored>(value);
                        after[c] = from_float<Stored>(gelu(value));
                      }
                    }
                  });
  add_linear(layer, kNarrow, kFedForward, kept.active, rows, places, buffers.sums.data(), kept.output_sum, tile);
  normalise(kept.output_sum, rows, hidden, epsilon, p[kOutputGain], p[kOutputShift], kept.output_stats, stream, next);
}

}  // namespace encoder
