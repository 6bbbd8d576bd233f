// The backward pass of one layer for one chunk: gradients of rows, sums for biases and norms, and the operands from which
// the gradients of weights are multiplied afterwards, over all chunks at once.
#pragma once
#include "layer.h"

namespace encoder {

// Operands of dW = dY' X of one layer, over all rows of the batch (chunks begin at multiples of 16; gaps are zero).
template <class Stored>
struct WeightOperands {
  Stored *input, *context, *attended, *active;         // packed X of (rows, columns)
  Stored *joined[3], *projected, *widened, *narrowed;  // dY as `lay_across` lays it, (columns, rows)

  WeightOperands(Arena& arena, const Shape& shape, int64_t rows, int64_t reads) {
    input = arena.take<Stored>(packed_size(rows, shape.hidden));
    for (Stored*& one : joined) one = arena.take<Stored>(packed_size(rows, shape.hidden));
    context = arena.take<Stored>(packed_size(reads, shape.hidden));
    attended = arena.take<Stored>(packed_size(reads, shape.hidden));
    active = arena.take<Stored>(packed_size(reads, shape.wide));
    projected = arena.take<Stored>(packed_size(reads, shape.hidden));
    widened = arena.take<Stored>(packed_size(reads, shape.wide));
    narrowed = arena.take<Stored>(packed_size(reads, shape.hidden));
  }
};

// Where sums over a chunk's rows go, (9 hidden + wide,): biases in the order of the linear layers, then the norms.
struct BiasSums {
  float* start;
  const Shape& shape;

  float* bias(int linear) const {
    return start + linear * shape.hidden + (linear > kWiden ? shape.wide - shape.hidden : 0);
  }
  float* norm(int parameter) const { return start + 5 * shape.hidden + shape.wide + (parameter - kAttentionGain) * shape.hidden; }
};

// target (rows, hidden) = residual + the sum of gradients times weights of `count` linear layers from `linear` on, whose
// gradients lie side by side, (rows, stride).
template <class Stored>
inline void add_products(const Layer<Stored>& layer, int linear, int count, const Stored* gradient, int64_t stride,
                         int64_t rows, const float* residual, float* target, float* tile) {
  const int64_t hidden = layer.shape.hidden, depth = layer.shape.outputs(linear);
  for (int64_t first = 0; first < hidden; first += kBlock) {
    for (int l = 0; l < count; l++) {
      const bool more = l + 1 < count;
      const int64_t then = more ? first : first + kBlock;
      multiply(rows, block_width(hidden, first), depth, gradient + l * depth, stride,
               layer.backward_weight(linear + l) + first * even(depth), tile, kBlock, l > 0,
               then + kBlock <= hidden ? layer.backward_weight(linear + (more ? l + 1 : 0)) + then * even(depth) : nullptr);
    }
    for (int64_t r = 0; r < rows; r++)
#pragma omp simd
      for (int64_t c = 0; c < std::min(kBlock, hidden - first); c++)
        target[r * hidden + first + c] = residual[r * hidden + first + c] + tile[r * kBlock + c];
  }
}

// given (rows, hidden) of the layer's output -> buffers.sums, gradient of the norm after attention.
template <class Stored>
inline void feed_backward(const Layer<Stored>& layer, const Kept<Stored>& kept, const float* given, int64_t rows,
                          const int32_t* places, BiasSums sums, ChunkBuffers<Stored>& buffers) {
  const int64_t hidden = layer.shape.hidden, wide = layer.shape.wide;
  float* tile = buffers.tile.data();
  Stored *narrow = buffers.narrow.data(), *gradient = buffers.wide.data();
  normalise_backward(given, kept.output_sum, kept.output_stats, rows, hidden, layer.parameters[kOutputGain],
                     buffers.residual.data(), narrow, {sums.norm(kOutputGain), sums.norm(kOutputShift), sums.bias(kNarrow)},
                     layer.stream(kFedForward), places);
  float* bias = sums.bias(kWiden);
  multiply_blocks(rows, wide, hidden, narrow, hidden, layer.backward_weight(kNarrow), tile,
                  [&](int64_t first, int64_t count, const float* product) {
                    for (int64_t r = 0; r < rows; r++) {
                      const Stored* before = kept.widened + r * wide + first;
                      Stored* after = gradient + r * wide + first;
#pragma omp simd
                      for (int64_t c = 0; c < count; c++) {
                        const float value = product[r * kBlock + c] * gelu_slope(to_float(before[c]));
                        after[c] = from_float<Stored>(value);
                        bias[first + c] += value;
                      }
                    }
                  });
  add_products(layer, kWiden, 1, gradient, wide, rows, buffers.residual.data(), buffers.sums.data(), tile);
}

// buffers.context (rows, hidden), the gradient of the attention's result -> buffers.joined (rows, 3 hidden).
template <class Stored>
inline void attend_chunk_backward(const Layer<Stored>& layer, const Chunk& chunk, const Kept<Stored>& kept,
                                  const Stored* given, BiasSums sums, ChunkBuffers<Stored>& buffers,
                                  AttentionBuffers<Stored>& attention) {
  const int64_t hidden = layer.shape.hidden, size = layer.shape.head_size(), heads = layer.shape.heads;
  Stored* joined = buffers.joined.data();
  for (int64_t s = chunk.first_sentence; s < chunk.first_sentence + chunk.sentences; s++) {
    if (layer.plan.lengths[s] == 0) continue;
    const int64_t row = layer.plan.starts[s] - chunk.first_row;
    for (int64_t h = 0; h < heads; h++) {
      const int64_t at = row * hidden + h * size;
      Stored* query = joined + row * 3 * hidden + h * size;
      attend_backward(layer.head(kept.joined, chunk, s, h), given + at, hidden,
                      kept.log_sums + row * heads + h, heads,
                      HeadGradients<Stored>{query, query + hidden, query + 2 * hidden}, attention);
    }
  }
  float* bias = sums.bias(kQuery);  // those of keys and values follow
  for (int64_t r = 0; r < chunk.rows; r++)
#pragma omp simd
    for (int64_t c = 0; c < 3 * hidden; c++) bias[c] += to_float(joined[r * 3 * hidden + c]);
}

template <class Stored>
inline void write_operands(const Layer<Stored>& layer, const Chunk& chunk, const Kept<Stored>& kept, const Stored* context,
                           int64_t rows, ChunkBuffers<Stored>& buffers, const WeightOperands<Stored>& operands) {
  const int64_t hidden = layer.shape.hidden, wide = layer.shape.wide, all = layer.plan.aligned_rows;
  const bool last = layer.last();
  const int64_t reads = last ? layer.plan.aligned_reads : all, read = last ? chunk.aligned_read : chunk.aligned_row;
  pack(kept.input, hidden, chunk.rows, hidden, operands.input, all, chunk.aligned_row, 16);
  for (int64_t l = 0; l < 3; l++)
    lay_across(buffers.joined.data() + l * hidden, 3 * hidden, chunk.rows, hidden, operands.joined[l], all,
               chunk.aligned_row, 16);
  if (rows == 0) return;
  pack(context, hidden, rows, hidden, operands.context, reads, read, 16);
  pack(kept.attended, hidden, rows, hidden, operands.attended, reads, read, 16);
  pack(kept.active, wide, rows, wide, operands.active, reads, read, 16);
  lay_across(buffers.wide.data(), wide, rows, wide, operands.widened, reads, read, 16);
  lay_across(buffers.narrow.data(), hidden, rows, hidden, operands.narrowed, reads, read, 16);
  lay_across(buffers.selected.data(), hidden, rows, hidden, operands.projected, reads, read, 16);
}

// gradient (rows of the chunk, hidden) holds that of the layer's output and becomes that of its input.
template <class Stored>
void run_layer_backward(const Layer<Stored>& layer, const Chunk& chunk, const Kept<Stored>& kept, float* gradient,
                        BiasSums sums, ChunkBuffers<Stored>& buffers, AttentionBuffers<Stored>& attention,
                        const WeightOperands<Stored>& operands) {
  const int64_t hidden = layer.shape.hidden;
  const bool last = layer.last();
  const int64_t rows = last ? chunk.reads : chunk.rows;
  const int32_t* places = layer.plan.after(chunk, last);
  const float* given = gradient;
  if (last) {
    gather_rows(gradient, places, chunk.first_row, rows, hidden, buffers.given.data());
    given = buffers.given.data();
  }
  feed_backward(layer, kept, given, rows, places, sums, buffers);
  Stored *projected = buffers.selected.data(), *context_gradient = buffers.context.data();
  normalise_backward(buffers.sums.data(), kept.attended_sum, kept.attended_stats, rows, hidden,
                     layer.parameters[kAttentionGain], buffers.residual.data(), projected,
                     {sums.norm(kAttentionGain), sums.norm(kAttentionShift), sums.bias(kProjection)},
                     layer.stream(kProjected), places);
  multiply_blocks(rows, hidden, hidden, projected, hidden, layer.backward_weight(kProjection), buffers.tile.data(),
                  [&](int64_t first, int64_t count, const float* product) {
                    for (int64_t r = 0; r < rows; r++)
#pragma omp simd
                      for (int64_t c = 0; c < count; c++)
                        context_gradient[r * hidden + first + c] = from_float<Stored>(product[r * kBlock + c]);
                  });
  const Stored* context = kept.context;
  const float* residual = buffers.residual.data();
  const Stored* whole = context_gradient;
  if (last) {
    scatter_rows(context_gradient, places, chunk.first_row, rows, chunk.rows, hidden, buffers.spread.data());
    scatter_rows(buffers.residual.data(), places, chunk.first_row, rows, chunk.rows, hidden, buffers.output.data());
    whole = buffers.spread.data();
    residual = buffers.output.data();
  }
  attend_chunk_backward(layer, chunk, kept, whole, sums, buffers, attention);
  add_products(layer, kQuery, 3, buffers.joined.data(), 3 * hidden, chunk.rows, residual, gradient, buffers.tile.data());
  if (last) {
    gather_rows(kept.context, places, chunk.first_row, rows, hidden, buffers.spread.data());
    context = buffers.spread.data();
  }
  write_operands(layer, chunk, kept, context, rows, buffers, operands);
}

// Rows [first, first + kBlock) of dW = dY' X, (outputs, inputs) float32, as far as there are so many.
template <class Stored>
void multiply_weight_gradient(const Stored* across, const Stored* packed, int64_t first, int64_t outputs, int64_t inputs,
                              int64_t rows, float* gradient, float* tile) {
  const int64_t count = std::min(kBlock, outputs - first);
  for (int64_t column = 0; column < inputs; column += kBlock) {
    const int64_t width = block_width(inputs, column), valid = std::min(kBlock, inputs - column);
    float* target = gradient + first * inputs + column;
    const bool whole = width == valid;
    multiply_across(count, width, rows, across, outputs, first, packed + column * rows, whole ? target : tile,
                    whole ? inputs : kBlock, false);
    for (int64_t r = 0; !whole && r < count; r++) std::memcpy(target + r * inputs, tile + r * kBlock, size_t(valid) * 4);
  }
}

}  // namespace encoder
