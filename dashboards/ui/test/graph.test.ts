import { expect, test } from 'vitest';
import type { Bucket } from '../src/core/types';
import { bars, heat, interval, numeric } from '../src/graph/heat';
import { columns, graphStep, lastOf, lonely, sample, seriesName, timeLabels } from '../src/graph/series';
import { boundUnit, inUnit, isRate, tickLabels, unitOf, type Unit } from '../src/graph/unit';

test('columns have every instant of the range; what is missing in it is a gap', () => {
  const steps = { start: 0, end: 5, step: 1 };
  expect(columns([{ metric: {}, values: [[1, '1'], [3, '+Inf'], [4, '7']] }, { metric: {}, values: [[2, '0.5'], [9, '1']] }], steps))
    .toEqual([[0, 1, 2, 3, 4, 5], [null, 1, null, null, 7, null], [null, null, 0.5, null, null, null]]);
  expect(columns([], { start: 10, end: 40, step: 15 })).toEqual([[10, 25, 40]]);
  expect(columns([], { start: 0.123, end: 0.423, step: 0.1 })[0].length).toBe(4);
  expect(lonely([null, 1, null, 2, 3, null, 4])).toEqual([1, 6]);
  expect([lastOf([1, 2, null]), lastOf([null])]).toEqual([{ at: 1, value: 2 }, undefined]);
});

test('names, numbers and steps', () => {
  expect(sample('NaN')).toBeNull();
  expect(seriesName({ __name__: 'up', job: 'a"b' })).toBe('up{job="a\\"b"}');
  expect([seriesName({}), seriesName({ __name__: 'up' })]).toEqual(['{}', 'up']);
  expect([graphStep(3600, 400), graphStep(10, 400)]).toEqual([9, 1]);
});

test('units come from the metrics’ names and the functions around them', () => {
  const check = (query: string, expected: Unit) => expect(unitOf(query), query).toBe(expected);
  check('container_memory_working_set_bytes{name="x_seconds"}', 'bytes');
  check('sum by (pod_bytes) (rate(container_cpu_usage_seconds_total{a="b"}[1m]))', 'cores');
  check('rate(container_network_receive_bytes_total[5m])', 'bytes/s');
  check('sum(rate(http_requests_total{code=~"5.."}[1m])) by (job)', 'per second');
  check('http_requests_total', 'none');
  check('histogram_quantile(0.9, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))', 'seconds');
  check('rate(http_request_duration_seconds_count[5m])', 'per second');
  check('rate(request_seconds_sum[5m]) / rate(request_seconds_count[5m])', 'none');
  check('a_bytes / on (pod) group_left b_bytes', 'ratio');
  check('container_memory_working_set_bytes / container_spec_memory_limit_bytes > 0.9', 'ratio');
  check('a_bytes / 1024', 'none');
  check('a_bytes / (1024)', 'none');
  check('1 / a_bytes', 'none');
  check('(a_bytes - b_bytes) / a_bytes', 'ratio');
  check('a_bytes > 1024', 'bytes');
  check('a_bytes * 8', 'none');
  check('a_bytes - b_bytes', 'bytes');
  check('count(a_bytes)', 'none');
  check('absent(up)', 'none');
  check('node_boot_time_seconds', 'none');
  check('disk_usage_ratio', 'ratio');
  check('a_seconds or b_bytes', 'none');
  check('', 'none');
});

test('values in their unit', () => {
  const check = (value: number, unit: Unit, expected: string) => expect(inUnit(value, unit)).toBe(expected);
  check(0.00124, 'seconds', '1.24 ms');
  check(2_097_152, 'bytes/s', '2.0 MiB/s');
  check(0.41, 'ratio', '41%');
  check(12.5, 'per second', '12.5/s');
  check(NaN, 'bytes', '–');
});

test('ticks that stand close have labels that differ', () => {
  expect(tickLabels([0, 524_288, 1_048_576, 1_572_864], 'bytes')).toEqual(['0.0 MiB', '0.5 MiB', '1.0 MiB', '1.5 MiB']);
  expect(tickLabels([1000, 1000.1, 1000.2], 'none')).toEqual(['1.0000k', '1.0001k', '1.0002k']);
  expect(tickLabels([0, 0.0005, 0.001], 'seconds')).toEqual(['0.0 ms', '0.5 ms', '1.0 ms']);
  expect(tickLabels([0, 0.5, 1], 'ratio')).toEqual(['0%', '50%', '100%']);
  for (const close of [[0, 0.1, 0.2], [0, 0.00001], [1e6, 1e6 + 1], [5, 5.000001]]) expect(new Set(tickLabels(close, 'none')).size).toBe(close.length);
  for (const step of [0.001, 0.5, 1, 60, 3600, 86_400]) {
    const ticks = Array.from({ length: 6 }, (_, i) => 1_790_000_000 + i * step);
    expect(new Set(timeLabels(ticks)).size, `${step}`).toBe(6);
  }
});

test('native histograms are cells by time and bucket, and buckets are bars', () => {
  const buckets = (...all: Bucket[]) => ({ count: '9', sum: '1', buckets: all });
  const map = heat({ metric: {}, histograms: [[0, buckets([3, '-0.5', '0.5', '2'], [0, '0.5', '1', '4'])], [2, buckets([0, '0.5', '2', '6'], [0, '2', '+Inf', '1'])]] }, { start: 0, end: 3, step: 1 });
  expect(map.times).toEqual([0, 1, 2, 3]);
  expect(map.bounds).toEqual([-0.5, 0.5, 1, 2, Infinity]);
  // The bucket from 0.5 to 2 lies in two rows; where there is no histogram there is no column.
  expect(map.cells).toEqual([[2, 4, 0, 0], undefined, [0, 3, 3, 1], undefined]);
  expect(map.most).toBe(4);
  expect(heat({ metric: {}, histograms: [[0, { count: '0', sum: '0' }]] }, { start: 0, end: 0, step: 1 })).toEqual({ times: [0], bounds: [], cells: [[]], most: 0 });
  const many = heat({ metric: {}, histograms: [[0, buckets(...Array.from({ length: 160 }, (_, i): Bucket => [0, String(i), String(i + 1), '1']))]] }, { start: 0, end: 999, step: 1 });
  expect([many.times.length, many.bounds.length, many.bounds[0], many.bounds.at(-1)]).toEqual([112, 41, 0, 160]);
  expect(many.cells[0]!.reduce((sum, one) => sum + one, 0)).toBeCloseTo(160);
  expect([interval([0, '1', '2', '3']), interval([1, '-2', '-1', '3']), interval([2, '0', '1', '3']), interval([3, '-1', '1', '3'])]).toEqual(['(1, 2]', '[-2, -1)', '(0, 1)', '[-1, 1]']);
  expect(bars(buckets([0, '1', '2', '3'], [0, '2', '4', '6'])).map(({ share }) => share)).toEqual([0.5, 1]);
  expect([numeric('+Inf'), numeric('-Inf'), numeric('1e+06')]).toEqual([Infinity, -Infinity, 1e6]);
  expect([boundUnit('sum(rate(request_seconds{a="rate("}[5m]))'), boundUnit('response_size_bytes'), boundUnit('irate(x[1m])')]).toEqual(['seconds', 'bytes', 'none']);
  expect([isRate('sum(rate(request_seconds[5m]))'), isRate('request_seconds{a="rate("}'), isRate('increase(x[5m])')]).toEqual([true, false, false]);
});
