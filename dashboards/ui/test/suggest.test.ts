import { expect, test } from 'vitest';
import { labelNames, nearest, unknownNames } from '../src/core/suggest';
import { metricNames } from '../src/graph/unit';

const METRICS = ['container_memory_working_set_bytes', 'container_cpu_usage_seconds_total', 'up', 'node_load1'];

test('the nearest name is offered when it is near', () => {
  const check = (typed: string, expected: string | undefined) => expect(nearest(typed, METRICS), typed).toBe(expected);
  check('container_memory_workingset_bytes', 'container_memory_working_set_bytes');
  check('container_cpu_usage_second_total', 'container_cpu_usage_seconds_total');
  check('pu', 'up');
  check('upp', 'up');
  check('NODE_LOAD1', 'node_load1');
  check('http_requests_total', undefined);
  check('x', undefined);
  expect(nearest('a'.repeat(10_000), METRICS)).toBeUndefined();
});

test('names of a query', () => {
  expect(metricNames('sum by (pod) (rate(a_total{b="c_total"}[5m] offset 1h)) / on (x) group_left (y) b:c > bool 1e3 and up')).toEqual(['a_total', 'b:c', 'up']);
  expect(metricNames('histogram_quantile(0.9, {__name__="x"})')).toEqual([]);
  expect(labelNames('rate(a{pod="x{y=\\"z\\"}", app=~"b"}[5m]) / b{pod!="c", __name__="d"}')).toEqual(['pod', 'app']);
  expect(labelNames('{app="x"} | json | status="5"')).toEqual(['app']);
});

test('what is not known is said, once each', () => {
  expect(unknownNames(['upp', 'up', 'nowhere_near'], METRICS, 'metric').map(({ said }) => said)).toEqual(['no metric named upp; did you mean up?', 'no metric named nowhere_near']);
});
