------------------------------ MODULE resharing ------------------------------
(* Can a change of validators ever leave a circle with two committees, without  *)
(* one, with another key, or with its key in the wrong hands?                   *)
(*                                                                              *)
(* This is docs/spec/members.md §5-§7 and §9, epoch by epoch. A validator is    *)
(* where it has followed the chain to; who is down does not act. Consensus is   *)
(* taken as the count of signatures that one block of an epoch needs: a quorum  *)
(* of the shares of any one sharing, since the circle's key is constant and     *)
(* tells nobody which sharing has signed. Honest validators sign one block an   *)
(* epoch, the adversary signs all it can. Cryptography is counting: a sharing   *)
(* is known by its round and by the dealings that made it; the adversary has    *)
(* what its validators hold, what was revealed, and what it finds at those it   *)
(* corrupts later; a quorum of one round's shares is the key.                   *)
(* What is left out, and what each invariant stands for: README.md.             *)
EXTENDS Integers, FiniteSets, Sequences

CONSTANTS
  Members,     \* whoever may ever validate; numbers
  Founders,    \* the committee of epoch 0
  Bad0,        \* the adversary's from the beginning
  Sluggish,    \* honest ones that may fail to acknowledge in time, if Timely
  Wanted,      \* the sets of validators that members may vote for
  LastEpoch,   \* nothing is finalized after it
  RestEpochs,  \* the ledger's REST_EPOCHS
  MaxLost,     \* validators that lose their messages, at most
  MaxCorrupt,  \* validators that the adversary takes over later, at most
  Lapses,      \* whose evidence may lapse (§9)
  Timely,      \* only the adversary's and Sluggish ones ever fail to answer
  Floor,       \* a rule that is NOT in force: nobody is left out if that costs a fault
  Blocks,      \* competing blocks an epoch; 1 is an honest leader's
  Prompt,      \* a resharing that is wanted begins before the epoch's last block
  Mutation     \* the guard that is dropped; "none" for the protocol

VARIABLES
  history,     \* c/epoch as of the beginning of each epoch
  under,       \* the number of the resharing under way; 0 is none
  missing,     \* its players that do not acknowledge
  next,        \* the number of the next resharing
  players,     \* round -> who was to hold its shares
  votes,       \* honest validators' signatures
  belief,      \* validator -> the epoch in which it is and what it knows of it
  vault,       \* validator -> the shares that it stores
  msgs,        \* validator -> the rounds whose messages it stores
  known,       \* round -> players whose share the adversary has
  bad,         \* the adversary's validators now
  lost         \* how many have lost their messages

vars == <<history, under, missing, next, players, votes, belief, vault, msgs, known, bad, lost>>

F(S) == (Cardinality(S) - 1) \div 3          \* faults that a committee bears
Q(S) == Cardinality(S) - F(S)                \* engine: N3f1::quorum
Rounds == 0 .. LastEpoch
Epoch == Len(history) - 1
Now == history[Epoch + 1]
Sharing(st) == [round |-> st.round, deals |-> st.deals]
Honest == Members \ bad
Resting(st) == {rest[1] : rest \in st.resting}

-----------------------------------------------------------------------------
\* What the ledger makes of an epoch: crates/ledger/src/members/epoch.rs `conclude`.
\* `r` is the resharing under way, `T` its target, `gone` who did not acknowledge,
\* `D` the dealings in the epoch's last block.
Concluded(st, r, T, gone, D) ==
  LET few      == Cardinality(D) < Q(st.committee) /\ Mutation # "few"
      revealed == gone # {} /\ Mutation # "reveal"
      e        == st.epoch + 1
      awake    == {rest \in st.resting : rest[2] > e}
      same     == [st EXCEPT !.epoch = e, !.resting = awake, !.tried = r,
                             !.gone = gone, !.given = D]
  IN IF r = 0 THEN [same EXCEPT !.outcome = "none"]
     ELSE IF few THEN [same EXCEPT !.outcome = "few"]
     ELSE IF revealed THEN
       [same EXCEPT !.outcome = "revealed",
                    !.resting = {rest \in awake : rest[1] \notin gone}
                                  \cup (IF Mutation = "rest" THEN {}
                                        ELSE {<<m, e + RestEpochs>> : m \in gone})]
     ELSE [same EXCEPT !.outcome = "adopted", !.committee = T, !.round = r, !.deals = D,
             \* Fewer dealings than the quorum interpolate to another secret.
             !.key = IF Cardinality(D) < Q(st.committee) THEN "another" ELSE st.key]

\* The block after it: what follows is a function of the state alone.
Successor(D) == Concluded(Now, under, players[under], missing, D)

Init ==
  /\ history = <<[epoch |-> 0, committee |-> Founders, round |-> 0, deals |-> Founders,
                  resting |-> {}, key |-> "the key", outcome |-> "none", tried |-> 0,
                  gone |-> {}, given |-> {}, lapsed |-> {}]>>
  /\ under = 0 /\ missing = {} /\ next = 1
  /\ players = [r \in Rounds |-> Founders]
  /\ votes = {}
  /\ belief = [v \in Members |-> history[1]]
  /\ vault = [v \in Members |-> IF v \in Founders THEN {Sharing(history[1])} ELSE {}]
  /\ msgs = [v \in Members |-> {}]
  /\ known = [r \in Rounds |-> IF r = 0 THEN Bad0 \cap Founders ELSE {}]
  /\ bad = Bad0 /\ lost = 0

-----------------------------------------------------------------------------
UpToDate(v) == belief[v].epoch = Epoch
Holds(v) == v \in bad \/ (UpToDate(v) /\ Sharing(Now) \in vault[v])

\* Members want `W`, the evidence of `lapsed` does not count, who rests is left out:
\* `begin_resharing`. Who acknowledges has stored its message before.
Begin(W, lapsed, gone) ==
  LET T == W \ (Resting(Now) \cup lapsed)
      r == next
      takesPart == {v \in Honest : UpToDate(v) /\ (v \in T \/ (v \in Now.committee /\ Holds(v)))}
  IN
  /\ under = 0 /\ r \in Rounds /\ Epoch < LastEpoch
  /\ \A x \in votes : x.epoch < Epoch
  /\ Cardinality(bad \cap W) <= F(W)          \* what is asked of members
  /\ T # {} /\ T # Now.committee
  /\ Cardinality(lapsed \cap W) <= F(W) \/ Mutation = "lapse"
  /\ Floor => F(T) >= F(W)
  /\ gone \subseteq T
  /\ Cardinality(gone) <= F(T)                \* with more, every honest dealing is void
  /\ \A v \in (T \ gone) \cap Honest : UpToDate(v)
  /\ under' = r /\ missing' = gone
  /\ next' = r + 1
  /\ players' = [players EXCEPT ![r] = T]
  /\ known' = [known EXCEPT ![r] = (IF Mutation = "number" THEN @ ELSE {}) \cup (bad \cap T) \cup gone]
  /\ msgs' = [v \in Members |->
       IF v \notin takesPart THEN msgs[v]
       ELSE {m \in msgs[v] : m = Now.round}
              \cup (IF v \in T \ gone /\ Mutation # "store" THEN {r} ELSE {})]
  /\ vault' = IF Mutation = "early"
              THEN [v \in Members |-> IF v \in takesPart THEN {} ELSE vault[v]]
              ELSE vault
  /\ history' = [history EXCEPT ![Epoch + 1].lapsed = lapsed]
  /\ UNCHANGED <<votes, belief, bad, lost>>

\* Nobody fails to acknowledge, or as many as there may be.
Begins(W, lapsed) ==
  /\ under = 0 /\ Epoch < LastEpoch
  /\ \E gone \in SUBSET (W \cap IF Timely THEN bad \cup Sluggish ELSE Members) : Begin(W, lapsed, gone)

\* The dealings that a block at the end of the epoch may have. The adversary's may
\* be withheld or left out, and so may honest ones, by an adversary's leader.
Dealers == {v \in Now.committee : Holds(v)}
Menu ==
  IF under = 0 THEN {{}}
  ELSE LET fewer == CHOOSE D \in SUBSET Dealers :
                      Cardinality(D) = IF Cardinality(Dealers) < Q(Now.committee) - 1
                                       THEN Cardinality(Dealers) ELSE Q(Now.committee) - 1
       IN IF Blocks = 1 THEN {Dealers \ bad} ELSE {fewer, Dealers, Dealers \ bad}

\* What can be signed in an epoch: in one that is over, what was proposed then.
Proposed(e) == IF e = Epoch THEN Menu ELSE {x.deals : x \in {y \in votes : y.epoch = e}}

\* An honest validator signs one last block of an epoch, with the share of the
\* sharing that it knows to be in office.
Vote(v, D) ==
  LET known_ == belief[v] IN
  /\ v \in known_.committee \ bad
  /\ Sharing(known_) \in vault[v]
  /\ known_.epoch < LastEpoch
  /\ Prompt => under # 0 \/ Now.outcome = "adopted"
  /\ \A x \in votes : ~(x.by = v /\ x.epoch = known_.epoch)
  /\ votes' = votes \cup {[by |-> v, epoch |-> known_.epoch, deals |-> D, with |-> Sharing(known_)]}
  /\ UNCHANGED <<history, under, missing, next, players, belief, vault, msgs, known, bad, lost>>

Votes(v) == v \in Honest /\ \E D \in Proposed(belief[v].epoch) : Vote(v, D)

\* A certificate: honest shares and the adversary's, of one sharing.
Certified(e, D) ==
  \E s \in {x.with : x \in {y \in votes : y.epoch = e}} :
    LET signers == {x.by : x \in {y \in votes : y.epoch = e /\ y.deals = D /\ y.with = s}}
    IN Cardinality(signers \cup known[s.round]) >= Q(players[s.round])

Finalize(D) ==
  /\ Epoch < LastEpoch
  /\ Certified(Epoch, D)
  /\ history' = Append(history, [Successor(D) EXCEPT !.lapsed = {}])
  /\ next' = IF Mutation = "number" /\ Successor(D).outcome \in {"few", "revealed"}
             THEN under ELSE next
  /\ under' = 0 /\ missing' = {}
  /\ UNCHANGED <<players, votes, belief, vault, msgs, known, bad, lost>>

\* keeper.rs `follow`, `take_office`, `assemble`, `retire`.
Enter(v, st) ==
  LET mine      == Sharing(st)
      others    == st.round # belief[v].round \/ st.deals # belief[v].deals
      elected   == v \in st.committee
      assembles == elected /\ (st.round \in msgs[v] \/ v \in st.gone)
      retires   == mine \in vault[v] \/ assembles \/ ~elected
      gains     == IF assembles THEN {mine} ELSE {}
  IN
  /\ belief' = [belief EXCEPT ![v] = st]
  /\ vault' = IF ~others THEN vault
              ELSE [vault EXCEPT ![v] =
                     IF retires /\ Mutation # "keep"
                     THEN {s \in @ \cup gains : s.round >= st.round} ELSE @ \cup gains]
  /\ msgs' = IF others /\ retires
             THEN [msgs EXCEPT ![v] = {m \in @ : m > st.round}] ELSE msgs

\* A validator follows the chain by one epoch, whenever it comes to it.
Follow(v) ==
  /\ v \in Honest /\ belief[v].epoch < Epoch
  /\ LET e    == belief[v].epoch
         st   == history[e + 2]
         own  == history[e + 1]
     IN IF Mutation = "late"
        \* It judges the dealings that it knows of by now.
        THEN \E more \in SUBSET (own.committee \ st.given) :
               /\ Cardinality(more) <= 1
               /\ Enter(v, Concluded(own, st.tried, players[st.tried], st.gone, st.given \cup more))
        ELSE Enter(v, [st EXCEPT !.lapsed = {}])
  /\ UNCHANGED <<history, under, missing, next, players, votes, known, bad, lost>>

\* Only with the mutation: a validator enters the next epoch by its own clock.
Switch(v) ==
  /\ Mutation = "clock"
  /\ v \in Honest /\ UpToDate(v) /\ under # 0 /\ Epoch < LastEpoch
  /\ Enter(v, Successor(Dealers))
  /\ UNCHANGED <<history, under, missing, next, players, votes, known, bad, lost>>

Lose(v) ==
  /\ lost < MaxLost /\ v \in Honest /\ msgs[v] # {}
  /\ msgs' = [msgs EXCEPT ![v] = {}] /\ lost' = lost + 1
  /\ UNCHANGED <<history, under, missing, next, players, votes, belief, vault, known, bad>>

\* The adversary takes a validator that runs and finds what it stores. It stays
\* within what every committee bears: it can take more only as others leave.
Corrupt(v) ==
  LET now == bad \cup {v}
      within(S) == Cardinality(now \cap S) <= F(S)
  IN
  /\ Cardinality(now \ Bad0) <= MaxCorrupt
  /\ v \in Honest /\ UpToDate(v)
  /\ within(Now.committee) /\ (under # 0 => within(players[under]))
  /\ bad' = now
  /\ known' = [r \in Rounds |->
       IF r \in msgs[v] \cup {s.round : s \in vault[v]} THEN known[r] \cup {v} ELSE known[r]]
  /\ UNCHANGED <<history, under, missing, next, players, votes, belief, vault, msgs, lost>>

Next ==
  \/ \E W \in Wanted, lapsed \in SUBSET Lapses : Begins(W, lapsed)
  \/ \E v \in Members : Votes(v) \/ Follow(v) \/ Switch(v) \/ Lose(v) \/ Corrupt(v)
  \/ \E D \in {x.deals : x \in {y \in votes : y.epoch = Epoch}} : Finalize(D)

Spec == Init /\ [][Next]_vars
\* Honest validators act in the end, and members go on wanting what they want.
FairSpec ==
  /\ Spec
  /\ WF_vars(\E W \in Wanted : Begins(W, {}))
  /\ \A v \in Members : WF_vars(Votes(v)) /\ WF_vars(Follow(v))
  /\ WF_vars(\E D \in {x.deals : x \in votes} : Finalize(D))

-----------------------------------------------------------------------------
\* Invariants.

\* At most one last block of an epoch is ever certified: no fork at a handover.
NoFork ==
  \A e \in 0 .. LastEpoch :
    Cardinality({D \in {x.deals : x \in {y \in votes : y.epoch = e}} : Certified(e, D)}) <= 1

\* All signatures of an epoch are of one sharing: no two committees in office.
OneCommittee == \A x, y \in votes : x.epoch = y.epoch => x.with = y.with

\* Whoever has come as far knows the same.
Agreement == \A v, w \in Honest : belief[v].epoch = belief[w].epoch => belief[v] = belief[w]

KeyConstant == Now.key = "the key"

\* The adversary has no quorum of any sharing that ever was, adopted or not.
Secret == \A r \in Rounds : r < next => Cardinality(known[r]) < Q(players[r])

\* Of the sharing in office it has no more than the committee bears.
Margin == Cardinality(known[Now.round]) <= F(Now.committee)

NoShrink == Cardinality(bad \cap Now.committee) <= F(Now.committee)

\* A quorum in office is honest and has its shares, or can put them together.
Live ==
  LET able == {v \in Now.committee \ bad :
                 \/ Sharing(Now) \in vault[v]
                 \/ ~UpToDate(v) /\ (Now.round \in msgs[v] \/ v \in Now.gone)}
  IN Cardinality(able) >= Q(Now.committee)

\* Who is in the present epoch and has its share, or has none to have, stores no other.
Deleted ==
  \A v \in Honest :
    (Sharing(belief[v]) \in vault[v] \/ v \notin belief[v].committee)
      => vault[v] \subseteq {Sharing(belief[v])} /\ \A m \in msgs[v] : m >= belief[v].round

\* The same of who was elected and has lost its messages.
DeletedAlways == \A v \in Honest : \A s \in vault[v] : s.round >= belief[v].round

\* No more are left out for lapsed evidence than there may be faults.
LapsesBounded ==
  \A e \in 1 .. Epoch :
    history[e + 1].outcome = "adopted" =>
      \E W \in Wanted : Cardinality(history[e].lapsed \cap W) <= F(W)

NeverOne == Cardinality(Now.committee) > 1

\* Reached states: each of these must fail, or the invariants say little.
NeverAdopted   == Now.outcome # "adopted"
NeverTwice     == Cardinality({e \in 1 .. Epoch + 1 : history[e].outcome = "adopted"}) < 2
NeverFew       == Now.outcome # "few"
NeverRests     == Now.resting = {}
NeverAfterRest == ~(Now.outcome = "adopted" /\ Now.resting # {})
NeverEvicted   == \A v \in Honest : ~(v \in Founders \ belief[v].committee /\ vault[v] = {})
NeverJoined    == \A v \in Honest : ~(v \notin Founders /\ vault[v] # {})
NeverBehind    == \A v \in Honest : ~(v \in Now.committee /\ belief[v].epoch < Epoch
                                      /\ Now.round # 0 /\ Now.round \in msgs[v])
NeverShareless == \A v \in Honest : ~(UpToDate(v) /\ v \in Now.committee /\ Sharing(Now) \notin vault[v])
NeverLapsed    == \A e \in 1 .. Epoch : ~(history[e + 1].outcome = "adopted" /\ history[e].lapsed # {})
NeverCorrupt   == bad = Bad0
NeverRivals    == \A x, y \in votes : x.epoch = y.epoch => x.deals = y.deals

\* Liveness: with honest leaders and time enough, what members want is adopted.
Adopts == <>(Now.outcome = "adopted")
=============================================================================
