// Who are you? Stands in the place of every view while nobody is signed in; the address stays, and the view comes with the session.
import { useState } from 'preact/hooks';
import { useAsk } from '../core/ask';
import { means, signIn } from '../core/caller';
import { params } from '../core/route';
import { ErrorNote } from '../parts/notes';

/** Why a sign-in at the issuer came to nothing; the codes are the server's. */
const FAILED: Record<string, string> = {
  denied: 'The issuer did not sign you in.',
  expired: 'It took too long, or was begun in another browser. Try again.',
  unknown: 'The issuer knows you, and what it says of you does not count here. Ask who runs this weir.',
  silent: 'The issuer does not answer. Try again later.',
};

export function SignIn() {
  const failed = FAILED[params.value.get('signin') ?? ''];
  const asked = useAsk('means', means);
  const [busy, setBusy] = useState(false);
  const [wrong, setWrong] = useState('');
  const submit = async (event: Event, kind: 'password' | 'token') => {
    event.preventDefault();
    const form = event.currentTarget as HTMLFormElement;
    const text = (name: string) => (form.elements.namedItem(name) as HTMLInputElement).value;
    setBusy(true);
    setWrong(await signIn(kind === 'token' ? { token: text('token').trim() } : { user: text('user'), password: text('password') }));
    setBusy(false);
  };
  const offered = asked.data;
  return (
    <section class="signin">
      <h1>Sign in to weir</h1>
      <ErrorNote error={asked.error} />
      {failed && !wrong && <div class="note error" role="alert"><strong>Not signed in</strong> <span class="wrap">{failed}</span></div>}
      {wrong && <div class="note error" role="alert"><strong>Not signed in</strong> <span class="wrap">{wrong}</span></div>}
      {offered?.oidc && <p><a class="button" target="_self" href={`/auth/login?to=${encodeURIComponent(window.location.pathname + window.location.search)}`}>Continue with {new URL(offered.oidc).host}</a></p>}
      {offered?.password && (
        <form onSubmit={(event) => void submit(event, 'password')}>
          <label>User<input name="user" autocomplete="username" required autofocus /></label>
          <label>Password<input name="password" type="password" autocomplete="current-password" required /></label>
          <button type="submit" disabled={busy}>Sign in</button>
        </form>
      )}
      {offered?.token && (
        <form onSubmit={(event) => void submit(event, 'token')}>
          <label>Token<input name="token" type="password" autocomplete="off" required /></label>
          <button type="submit" disabled={busy}>Sign in with a token</button>
        </form>
      )}
      {offered && !offered.oidc && !offered.password && !offered.token && <p>This weir knows no way to sign in from a page; its <code>[auth] methods</code> say who may ask.</p>}
    </section>
  );
}
