package replica

// ablation is a run with one rule removed. All of it happens here: the code under test has no switch for it. The nil
// ablation removes nothing.
type ablation struct {
	rule    string
	what    string
	profile func(*profile)

	onStart   func(*simNode)
	onBefore  func(*simNode, Event) (undo func())
	onAfter   func(*simNode, Event)
	onFrame   func(*simNode, *Frame)
	onReceive func(*link, *Frame)
	onRead    func(*simNode, *op)
	onAsk     func(*simNode, *op, *Read)
	reopens   bool
}

func (a *ablation) started(n *simNode) {
	if a != nil && a.onStart != nil {
		a.onStart(n)
	}
}

func (a *ablation) before(n *simNode, ev Event) func() {
	if a == nil || a.onBefore == nil {
		return nil
	}
	return a.onBefore(n, ev)
}

func (a *ablation) after(n *simNode, ev Event) {
	if a != nil && a.onAfter != nil {
		a.onAfter(n, ev)
	}
}

func (a *ablation) collected(n *simNode, f *Frame) {
	if a != nil && a.onFrame != nil {
		a.onFrame(n, f)
	}
}

func (a *ablation) receiving(l *link, f *Frame) {
	if a != nil && a.onReceive != nil {
		a.onReceive(l, f)
	}
}

func (a *ablation) reading(n *simNode, o *op) {
	if a != nil && a.onRead != nil {
		a.onRead(n, o)
	}
}

func (a *ablation) asking(n *simNode, o *op, r *Read) {
	if a != nil && a.onAsk != nil {
		a.onAsk(n, o, r)
	}
}

func (a *ablation) keepsEpochs() bool { return a != nil && a.reopens }
