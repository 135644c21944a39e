// Where the page starts.
import { render } from 'preact';
import 'uplot/dist/uPlot.min.css';
import './styles/base.css';
import './styles/parts.css';
import './styles/views.css';
import { App } from './app';

render(<App />, document.getElementById('app')!);
