// The backward pass of one layer for one chunk: gradients of rows, sums for biases and norms, and the operands from which
// the gradients of weights are multiplied afterwards, over all chunks at once. What kinds of layers differ in stands in
// post_norm_backward.h and pre_norm_backward.h.
#pragma once
#include "layer.h"

namespace encoder {

// Operands of dW = dY' X of one layer, over all rows of the batch (chunks begin at multiples of kChunkStep; gaps are zero).
template <class Stored>
struct WeightOperands {
  Stored *input, *context, *attended, *active;         // packed X of (rows, columns)
  Stored *joined[3], *projected, *widened[2], *narrowed;  // dY as `lay_across` lays it, (columns, rows); gates are widened[1]

  WeightOperands(Arena& arena, const Shape& shape, int64_t rows, int64_t reads) {
    input = arena.take<Stored>(packed_size(rows, shape.hidden));
    for (Stored*& one : joined) one = arena.take<Stored>(packed_size(rows, shape.hidden));
    context = arena.take<Stored>(packed_size(reads, shape.hidden));
    attended = arena.take<Stored>(packed_size(reads, shape.hidden));
    active = arena.take<Stored>(packed_size(reads, shape.wide));
    projected = arena.take<Stored>(packed_size(reads, shape.hidden));
    widened[0] = arena.take<Stored>(packed_size(reads, shape.wide));
    widened[1] = arena.take<Stored>(packed_size(reads, shape.gates()));
    narrowed = arena.take<Stored>(packed_size(reads, shape.hidden));
  }
};

// Where sums over a chunk's rows go: biases in the order of the linear layers, then the norms.
struct BiasSums {
  float* start;
  const Shape& shape;

  float* bias(int linear) const { return start + shape.first_output(linear); }
  float* norm(int parameter) const { return bias(kLinears) + (parameter - kMiddleGain) * shape.hidden; }
};

// target (rows, hidden) = residual (0 where it is null) + the sum of gradients times weights of `count` linear layers from `linear` on, whose
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
               layer.backward_weight(linear + l) + first * even(depth), tile, kBlock, l > 0 ? Into::kOnto : Into::kOver,
               then + kBlock <= hidden ? layer.backward_weight(linear + (more ? l + 1 : 0)) + then * even(depth) : nullptr);
    }
    const int64_t columns = std::min(kBlock, hidden - first);
    for (int64_t r = 0; r < rows; r++) {
      const int64_t at = r * hidden + first;
      if (residual == nullptr) {
        std::memcpy(target + at, tile + r * kBlock, size_t(columns) * sizeof(float));
        continue;
      }
#pragma omp simd
      for (int64_t c = 0; c < columns; c++) target[at + c] = residual[at + c] + tile[r * kBlock + c];
    }
  }
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
  turn_chunk(layer, chunk, joined, -1.0f);
  float* bias = sums.bias(kQuery);  // those of keys and values follow
  for (int64_t r = 0; r < chunk.rows; r++)
#pragma omp simd
    for (int64_t c = 0; c < 3 * hidden; c++) bias[c] += to_float(joined[r * 3 * hidden + c]);
}

template <class Stored>
inline void write_operands(const Layer<Stored>& layer, const Chunk& chunk, const Kept<Stored>& kept,
                           ChunkBuffers<Stored>& buffers, const WeightOperands<Stored>& operands) {
  const int64_t hidden = layer.shape.hidden, wide = layer.shape.wide, all = layer.plan.aligned_rows;
  const bool last = layer.last();
  const int64_t reads = last ? layer.plan.aligned_reads : all, read = last ? chunk.aligned_read : chunk.aligned_row;
  pack(kept.input, hidden, chunk.rows, hidden, operands.input, all, chunk.aligned_row, kChunkStep, true);
  for (int64_t l = 0; l < 3; l++)
    lay_across(buffers.joined.data() + l * hidden, 3 * hidden, chunk.rows, hidden, operands.joined[l], all,
               chunk.aligned_row, kChunkStep, true);
  const int64_t rows = last ? chunk.reads : chunk.rows;
  if (rows == 0) return;
  const Stored* context = kept.context;
  if (last) {
    gather_rows(context, layer.plan.after(chunk, true), chunk.first_row, rows, hidden, buffers.spread.data());
    context = buffers.spread.data();
  }
  pack(context, hidden, rows, hidden, operands.context, reads, read, kChunkStep, true);
  pack(kept.attended, hidden, rows, hidden, operands.attended, reads, read, kChunkStep, true);
  pack(kept.active, wide, rows, wide, operands.active, reads, read, kChunkStep, true);
  for (int64_t part = 0, stride = layer.shape.widened(); part * wide < stride; part++)
    lay_across(buffers.wide.data() + part * wide, stride, rows, wide, operands.widened[part], reads, read, kChunkStep, true);
  lay_across(buffers.narrow.data(), hidden, rows, hidden, operands.narrowed, reads, read, kChunkStep, true);
  lay_across(buffers.selected.data(), hidden, rows, hidden, operands.projected, reads, read, kChunkStep, true);
}

// The gradient of the layer's output at the rows that go on after the attention, (rows, hidden).
template <class Stored>
inline const float* take_given(const Layer<Stored>& layer, const Chunk& chunk, const float* gradient,
                               ChunkBuffers<Stored>& buffers) {
  if (!layer.last()) return gradient;
  gather_rows(gradient, layer.plan.after(chunk, true), chunk.first_row, chunk.reads, layer.shape.hidden, buffers.given.data());
  return buffers.given.data();
}

// From buffers.selected, the gradient of the projection's output at the rows that go on after the attention, and
// buffers.residual, that of the sum which it was added to, to buffers.joined; returns the latter at all rows.
template <class Stored>
inline const float* leave_attention(const Layer<Stored>& layer, const Chunk& chunk, const Kept<Stored>& kept, BiasSums sums,
                                    ChunkBuffers<Stored>& buffers, AttentionBuffers<Stored>& attention) {
  const int64_t hidden = layer.shape.hidden, rows = layer.last() ? chunk.reads : chunk.rows;
  Stored* given = buffers.context.data();
  multiply_blocks(rows, hidden, hidden, buffers.selected.data(), hidden, layer.backward_weight(kProjection),
                  buffers.tile.data(), [&](int64_t first, int64_t count, const float* product) {
                    for (int64_t r = 0; r < rows; r++)
#pragma omp simd
                      for (int64_t c = 0; c < count; c++)
                        given[r * hidden + first + c] = from_float<Stored>(product[r * kBlock + c]);
                  });
  const float* residual = buffers.residual.data();
  if (layer.last()) {
    const int32_t* places = layer.plan.after(chunk, true);
    scatter_rows(given, places, chunk.first_row, rows, chunk.rows, hidden, buffers.spread.data());
    scatter_rows(residual, places, chunk.first_row, rows, chunk.rows, hidden, buffers.output.data());
    given = buffers.spread.data();
    residual = buffers.output.data();
  }
  attend_chunk_backward(layer, chunk, kept, given, sums, buffers, attention);
  return residual;
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
    const Stored* block = packed + column * rows;
    multiply_across(count, width, rows, across, outputs, first, block, whole ? target : tile, whole ? inputs : kBlock,
                    whole ? Into::kPast : Into::kOver, column + 2 * kBlock <= inputs ? block + kBlock * rows : nullptr);
    for (int64_t r = 0; !whole && r < count; r++) std::memcpy(target + r * inputs, tile + r * kBlock, size_t(valid) * 4);
  }
}

}  // namespace encoder
