package mesh

import (
	"fmt"

	"banyan/record"
)

func (m *Attach) validate() error {
	return (&Member{Addr: m.Addr, Labels: m.Labels, Subscriptions: m.Subscriptions}).validate()
}

func (m *Attached) validate() error {
	if len(m.Path) > MaxPath {
		return fmt.Errorf("%w: a path of %d hops", ErrMalformed, len(m.Path))
	}
	return nil
}

func (m *Rejected) validate() error {
	if len(m.Reason) > MaxReason {
		return fmt.Errorf("%w: rejection: reason too long", ErrMalformed)
	}
	return nil
}

func (m *SignedHead) validate() error {
	if len(m.Raw) > record.MaxHead {
		return fmt.Errorf("%w: head of %d bytes", ErrMalformed, len(m.Raw))
	}
	return nil
}

func (m *Gone) validate() error {
	if len(m.Agents) > MaxChildren {
		return fmt.Errorf("%w: %d agents gone", ErrMalformed, len(m.Agents))
	}
	return nil
}

func (m *Push) validate() error {
	if len(m.Config) > record.MaxConfigName || len(m.Manifest) > record.MaxManifest || len(m.Body) > MaxPush {
		return fmt.Errorf("%w: push: a field is too long", ErrMalformed)
	}
	return nil
}

func (m *Accusation) validate() error {
	if len(m.Name) > MaxAddress {
		return fmt.Errorf("%w: accusation: name too long", ErrMalformed)
	}
	return nil
}

func (m *Drift) validate() error {
	if len(m.Name) > MaxAddress || len(m.Config) > record.MaxConfigName || len(m.Region) > record.MaxRegionName {
		return fmt.Errorf("%w: drift: a field is too long", ErrMalformed)
	}
	return nil
}

func (m *Census) validate() error {
	if len(m.Labels) > MaxCensusLabels || len(m.Waves) > MaxWaves || len(m.Quarantined) > MaxQuarantined || len(m.Audiences) > MaxAudiences {
		return fmt.Errorf("%w: census: too many entries", ErrMalformed)
	}
	for _, a := range m.Audiences {
		if err := a.Subscriptions.validate(); err != nil {
			return err
		}
	}
	for label := range m.Labels {
		if len(label) > 2*MaxLabelBytes+1 {
			return fmt.Errorf("%w: census: label too long", ErrMalformed)
		}
	}
	for _, w := range m.Waves {
		if len(w.Config) > record.MaxConfigName {
			return fmt.Errorf("%w: census: name too long", ErrMalformed)
		}
	}
	for _, q := range m.Quarantined {
		if len(q.Config) > record.MaxConfigName || len(q.Name) > MaxAddress || len(q.Reason) > MaxReason {
			return fmt.Errorf("%w: census: a field is too long", ErrMalformed)
		}
	}
	return nil
}

func (m *Placement) validate() error {
	if len(m.Backups) > MaxBackups {
		return fmt.Errorf("%w: placement: %d backups", ErrMalformed, len(m.Backups))
	}
	if len(m.Gossip) > MaxBackups {
		return fmt.Errorf("%w: placement: %d gossip addresses", ErrMalformed, len(m.Gossip))
	}
	for _, a := range m.Gossip {
		if len(a) > MaxAddress {
			return fmt.Errorf("%w: placement: address too long", ErrMalformed)
		}
	}
	for _, l := range append(m.Backups, m.Parent) {
		if len(l.Addr) > MaxAddress || len(l.Name) > MaxAddress {
			return fmt.Errorf("%w: placement: address too long", ErrMalformed)
		}
	}
	return nil
}

func (m *Member) validate() error {
	if len(m.Name) > MaxAddress {
		return fmt.Errorf("%w: member: name too long", ErrMalformed)
	}
	return (&Join{Addr: m.Addr, Labels: m.Labels, Subscriptions: m.Subscriptions}).validate()
}

func (m *Adopted) validate() error {
	if len(m.Members) > MaxMembers {
		return fmt.Errorf("%w: %d agents adopted", ErrMalformed, len(m.Members))
	}
	for i := range m.Members {
		if err := m.Members[i].validate(); err != nil {
			return err
		}
	}
	return nil
}

func (m *Join) validate() error {
	if len(m.Addr) > MaxAddress || len(m.Avoid) > MaxAvoid || len(m.Accuse) > MaxAddress || len(m.Labels) > MaxLabels {
		return fmt.Errorf("%w: join: address, name or labels too long", ErrMalformed)
	}
	for _, name := range m.Avoid {
		if len(name) > MaxAddress {
			return fmt.Errorf("%w: join: name too long", ErrMalformed)
		}
	}
	for k, v := range m.Labels {
		if len(k) > MaxLabelBytes || len(v) > MaxLabelBytes {
			return fmt.Errorf("%w: join: label too long", ErrMalformed)
		}
	}
	return m.Subscriptions.validate()
}
