// In the header: who is signed in, for which tenant, and the way out. Nothing where nobody is asked who they are and there is one tenant.
import { caller, signOut, tenant } from '../core/caller';
import { setParams } from '../core/route';

export function Who() {
  const who = caller.value;
  if (!who || (who.method === 'anonymous' && tenant.value === '')) return null;
  const offered = [...new Set([...(who.tenants ?? who.scope), ...(tenant.value ? [tenant.value] : [])])];
  return (
    <div class="who">
      {offered.length > 1 && (
        <select aria-label="Tenant" value={tenant.value || who.scope[0]} onChange={(event) => setParams({ tenant: event.currentTarget.value })}>
          {offered.map((name) => <option key={name} value={name}>{name}</option>)}
        </select>
      )}
      {offered.length === 1 && <span class="muted" title="the tenant whose data is shown">{offered[0]}</span>}
      {who.method !== 'anonymous' && <span title={[`by ${who.method}`, ...(who.groups.length > 0 ? [`groups: ${who.groups.join(', ')}`] : [])].join('; ')}>{who.name}</span>}
      {who.method !== 'anonymous' && <button type="button" class="quiet" onClick={() => void signOut()}>Sign out</button>}
    </div>
  );
}
