--------------------------------- MODULE keys ---------------------------------
(* Can rounds of keykeepers over the ledger ever give the master secret to too  *)
(* few, change it, or lose it?                                                  *)
(*                                                                              *)
(* This is docs/spec/keys.md §1, §2 and §7. The ledger is one list that all     *)
(* read, so there is one board. A keeper acts when it comes to it; who is down  *)
(* does not. Cryptography is counting: a round's polynomials are known to who   *)
(* has a quorum of its players' shares (its seed gives a player its share of    *)
(* the round), and no shares of two rounds go together.                         *)
(* What is left out, and what each invariant stands for: README.md.             *)
EXTENDS Integers, FiniteSets

CONSTANTS
  Keepers,     \* whoever may ever be one; numbers
  Bad0,        \* the adversary's from the beginning
  Down,        \* honest ones that never act
  First,       \* who is asked to make the first key
  Sets,        \* whom members may vote for later
  MaxRound,    \* no round after it
  MaxCorrupt,  \* keepers that the adversary takes over later, at most
  Timely,      \* phases last until every honest keeper that runs has posted
  Waits,       \* a change begins once all that run have settled the one before (not in force)
  Floor,       \* a rule that is NOT in force: see CloseJoining
  Kept,        \* posts of the round in office stay, and are settled before anything else
  Mutation     \* the guard that is dropped; "none" for the protocol

VARIABLES
  n,           \* the number of the round under way, or of the last one
  phase,       \* "join", "deal", "answer"; "done" or "failed" is its outcome
  prev,        \* the round whose sharing it starts from; 0 is none: a first key
  invited, asked, least,   \* who is asked; how many at first; how many must join
  joined, dealt, spoilt, answered,  \* the board; `spoilt` are dealers and victims
  office,      \* the round of the committee in office; 0 is none
  made,        \* round -> the dealings of its result; {} is none
  players,     \* round -> who joined it
  froms,       \* round -> its `prev`
  key,         \* the master secret that the sharing in office is of
  holding,     \* keeper -> the share that it stores: of a round and its dealings
  pending,     \* keeper -> the round whose seed it stores; 0 is none
  known,       \* round -> players whose share of it the adversary has
  bad          \* the adversary's keepers now

board == <<n, phase, prev, invited, asked, least, joined, dealt, spoilt, answered>>
results == <<office, made, players, froms, key>>
secrets == <<holding, pending, known, bad>>
vars == <<board, results, secrets>>

F(S) == (Cardinality(S) - 1) \div 2         \* threshold: `faults`
Q(S) == Cardinality(S) - F(S)               \* threshold: `quorum`
Rounds == 1 .. MaxRound
None == [round |-> 0, deals |-> {}]
Over == phase \in {"done", "failed"}
Runs == Keepers \ (bad \cup Down)
Dealers == IF prev = 0 THEN joined ELSE players[prev]

Init ==
  /\ n = 1 /\ phase = "join" /\ prev = 0
  /\ invited = First /\ asked = Cardinality(First) /\ least = Q(First)
  /\ joined = {} /\ dealt = {} /\ spoilt = {} /\ answered = {}
  /\ office = 0
  /\ made = [r \in Rounds |-> {}] /\ players = [r \in Rounds |-> {}]
  /\ froms = [r \in Rounds |-> 0]
  /\ key = "none"
  /\ holding = [k \in Keepers |-> None]
  /\ pending = [k \in Keepers |-> 0]
  /\ known = [r \in Rounds |-> {}]
  /\ bad = Bad0

-----------------------------------------------------------------------------
\* The end of a round, as a keeper sees it: threshold::Keeper::settle, called by
\* keykeeper::take_part for who was asked or holds a share.
Concerned(k) == k \in invited \/ holding[k] # None
Keeps(k) == Mutation = "keep" /\ k \notin joined
Unsettled(k) ==
  \/ Over /\ Concerned(k) /\ (pending[k] # 0 \/ (phase = "done" /\ holding[k].round # n /\ ~Keeps(k)))
  \/ Kept /\ office # 0 /\ (pending[k] = office
        \/ (Mutation # "keep" /\ holding[k].round \notin {0, office}))
  \/ Mutation # "seed" /\ pending[k] \notin {0, n}

Opened(k, r) ==
  [round |-> r,
   deals |-> IF Mutation = "own" THEN {d \in dealt : <<d, k>> \notin spoilt} ELSE made[r]]

\* Every dealing of the result has a good share for it.
Opens(k) == \A d \in made[office] : <<d, k>> \notin spoilt

Settle(k) ==
  /\ k \in Runs /\ Unsettled(k)
  /\ IF Kept /\ office # 0 /\ holding[k].round # office
     THEN /\ holding' = [holding EXCEPT ![k] =
               IF k \in players[office] /\ pending[k] = office /\ (n = office => Opens(k))
               THEN Opened(k, office)
               ELSE IF Mutation = "keep" THEN @ ELSE None]
          /\ pending' = [pending EXCEPT ![k] = IF @ = office \/ Over THEN 0 ELSE @]
     ELSE /\ holding' = [holding EXCEPT ![k] =
               IF phase # "done" \/ @.round = n THEN @
               ELSE IF k \in joined /\ pending[k] = n /\ Opens(k) THEN Opened(k, n)
               ELSE IF Keeps(k) THEN @ ELSE None]
          /\ pending' = [pending EXCEPT ![k] = 0]
  /\ UNCHANGED <<board, results, known, bad>>

\* With the rule `Kept`, nobody goes on before it has settled.
MayAct(k) == k \in Runs /\ (Kept => ~Unsettled(k))

\* A post before it is stored: a restart loses the seed.
Forget(k) ==
  /\ Mutation = "unstored" /\ k \in Runs /\ phase \in {"deal", "answer"} /\ k \in joined
  /\ pending' = [pending EXCEPT ![k] = 0]
  /\ UNCHANGED <<board, results, holding, known, bad>>

-----------------------------------------------------------------------------
\* The board: crates/threshold/src/board.rs, crates/ledger/src/keys/round.rs.
Open(r, from, S, first, most) ==
  /\ n' = r /\ phase' = "join" /\ prev' = from
  /\ invited' = S /\ asked' = first /\ least' = most
  /\ joined' = {} /\ dealt' = {} /\ spoilt' = {} /\ answered' = {}

SetKeepers(S) ==
  /\ Over /\ n < MaxRound
  /\ Cardinality(bad \cap S) <= F(S)              \* what is asked of members
  /\ Waits => \A k \in Runs : ~Unsettled(k)
  /\ Open(IF Mutation = "number" /\ phase = "failed" THEN n ELSE n + 1, office, S, Cardinality(S), Q(S))
  /\ UNCHANGED <<results, secrets>>

Join(k) ==
  /\ phase = "join" /\ k \in invited \ joined /\ (k \in bad \/ MayAct(k))
  /\ joined' = joined \cup {k}
  /\ pending' = IF k \in bad THEN pending ELSE [pending EXCEPT ![k] = n]
  /\ UNCHANGED <<n, phase, prev, invited, asked, least, dealt, spoilt, answered, results, holding, known, bad>>

Fail == phase' = "failed" /\ UNCHANGED <<n, prev, invited, asked, least, joined, dealt, spoilt, answered>>

CloseJoining ==
  /\ phase = "join"
  /\ Timely => Runs \cap invited \subseteq joined
  /\ IF \/ Cardinality(joined) < least
        \* A quorum of those that joined must be more than may be hostile among
        \* those that were first asked.
        \/ Floor /\ Q(joined) <= (asked - 1) \div 2
     THEN Fail /\ UNCHANGED <<results, secrets>>
     ELSE /\ phase' = "deal"
          /\ players' = [players EXCEPT ![n] = joined]
          /\ froms' = [froms EXCEPT ![n] = prev]
          /\ UNCHANGED <<n, prev, invited, asked, least, joined, dealt, spoilt, answered,
                         office, made, key, secrets>>

\* Who holds the share in office, or for a first key who has joined.
CanDeal(k) ==
  IF prev = 0 THEN k \in joined /\ pending[k] = n ELSE holding[k] = [round |-> prev, deals |-> made[prev]]

Deal(k) ==
  /\ phase = "deal" /\ k \in Dealers \ dealt
  /\ \/ k \in bad \/ (MayAct(k) /\ CanDeal(k))
  /\ dealt' = dealt \cup {k}
  \* The adversary's may be bad for one of the players: one is as good as many.
  /\ \E victim \in {0} \cup (IF k \in bad THEN joined \ bad ELSE {}) :
       spoilt' = IF victim = 0 THEN spoilt ELSE spoilt \cup {<<k, victim>>}
  /\ pending' = IF k \in bad THEN pending ELSE [pending EXCEPT ![k] = n]
  /\ holding' = IF Mutation = "early" /\ k \notin bad THEN [holding EXCEPT ![k] = None] ELSE holding
  /\ UNCHANGED <<n, phase, prev, invited, asked, least, joined, answered, results, known, bad>>

CloseDealing ==
  /\ phase = "deal"
  /\ Timely => \A k \in Runs \cap Dealers : CanDeal(k) => k \in dealt
  /\ IF dealt = {} THEN Fail /\ UNCHANGED <<results, secrets>>
     ELSE /\ phase' = "answer"
          \* With a number that was used before, the same polynomials are dealt to a
          \* list in which players have other places: other points of them.
          /\ known' = [known EXCEPT ![n] = @ \cup (bad \cap joined)
                          \cup {k + 100 : k \in IF Mutation = "number" /\ @ # {} THEN bad \cap joined ELSE {}}]
          /\ UNCHANGED <<n, prev, invited, asked, least, joined, dealt, spoilt, answered, results,
                         holding, pending, bad>>

\* A player says of every dealing whether it is good, and shows that a bad one is.
\* What it says is checked, so the adversary can say the truth or nothing.
Answer(k) ==
  /\ phase = "answer" /\ k \in joined \ answered
  /\ k \in bad \/ (MayAct(k) /\ pending[k] = n)
  /\ answered' = answered \cup {k}
  /\ UNCHANGED <<n, phase, prev, invited, asked, least, joined, dealt, spoilt, results, secrets>>

Good == IF Mutation = "complaint" THEN dealt ELSE {d \in dealt : \A k \in joined : <<d, k>> \notin spoilt}

Adopt(good, shown) ==
  /\ phase' = "done" /\ office' = n
  /\ made' = [made EXCEPT ![n] = good]
  /\ key' = IF prev = 0 THEN "the key"
            ELSE IF Cardinality(good) < Q(Dealers) THEN "another" ELSE key
  \* Whose dealings alone a sharing is made of knows all of it.
  /\ known' = [known EXCEPT ![n] = @ \cup shown \cup (IF good \subseteq bad THEN joined ELSE {})]
  /\ UNCHANGED <<n, prev, invited, asked, least, joined, dealt, spoilt, answered, players, froms,
                 holding, pending, bad>>

CloseAnswering ==
  LET silent == joined \ answered
      left   == invited \cap answered
      enough == Cardinality(Good) >= (IF Mutation = "few" THEN 1 ELSE Q(Dealers))
  IN
  /\ phase = "answer"
  /\ Timely => \A k \in Runs \cap joined : k \in answered \/ pending[k] # n
  /\ IF silent # {} /\ Mutation # "reveal"
     THEN IF Cardinality(left) < least THEN Fail /\ UNCHANGED <<results, secrets>>
          ELSE /\ n < MaxRound
               /\ Open(IF Mutation = "number" THEN n ELSE n + 1, prev, left, asked, least)
               /\ UNCHANGED <<results, secrets>>
     \* The mutation is the library's own way: shares of the silent are published.
     ELSE IF enough /\ Cardinality(silent) <= F(joined) THEN Adopt(Good, silent)
     ELSE Fail /\ UNCHANGED <<results, secrets>>

\* The adversary takes a keeper that runs and has followed the ledger, and finds
\* what it stores. It stays within what every committee bears.
Corrupt(k) ==
  LET now == bad \cup {k}
      within(S) == S # {} => Cardinality(now \cap S) <= F(S)
  IN
  /\ Cardinality(now \ Bad0) <= MaxCorrupt
  /\ k \in Runs /\ ~Unsettled(k)
  /\ office # 0 => within(players[office])
  /\ ~Over => within(invited)
  /\ bad' = now
  /\ known' = [r \in Rounds |->
       IF r = holding[k].round \/ (r = pending[k] /\ k \in players[r]) THEN known[r] \cup {k} ELSE known[r]]
  /\ UNCHANGED <<board, results, holding, pending>>

Next ==
  \/ \E S \in Sets : SetKeepers(S)
  \/ \E k \in Keepers : Join(k) \/ Deal(k) \/ Answer(k) \/ Settle(k) \/ Forget(k) \/ Corrupt(k)
  \/ CloseJoining \/ CloseDealing \/ CloseAnswering

Spec == Init /\ [][Next]_vars
FairSpec ==
  /\ Spec
  /\ \A k \in Keepers \ (Bad0 \cup Down) : WF_vars(Join(k)) /\ WF_vars(Deal(k)) /\ WF_vars(Answer(k)) /\ WF_vars(Settle(k))
  /\ WF_vars(CloseJoining) /\ WF_vars(CloseDealing) /\ WF_vars(CloseAnswering)

-----------------------------------------------------------------------------
\* Invariants.

\* The adversary has a quorum of no round that is of the master secret, which are
\* those that were adopted and all that start from a committee.
Secret ==
  \A r \in Rounds :
    (made[r] # {} \/ froms[r] # 0) /\ players[r] # {} => Cardinality(known[r]) < Q(players[r])

\* Of the sharing in office it has no more than the committee bears.
Margin == office # 0 => Cardinality(known[office]) <= F(players[office])

KeyConstant == key \in {"none", "the key"}

\* Shares of one round are made of the dealings that the ledger has found.
Agreement == \A k \in Keepers \ bad : holding[k] # None => holding[k].deals = made[holding[k].round]

\* A quorum in office is honest and has its shares, or can still open them.
Usable ==
  office # 0 =>
    LET opens(k) == pending[k] = office
                      /\ IF n = office /\ phase = "done" THEN Opens(k) ELSE Kept
    IN Cardinality({k \in players[office] \ (bad \cup Down) : holding[k].round = office \/ opens(k)})
         >= Q(players[office])

\* Who has followed the ledger, and is out of office, has no share left.
Evicted == \A k \in Runs : Over /\ office # 0 /\ ~Unsettled(k) /\ k \notin players[office] => holding[k] = None

\* Who has followed the ledger stores nothing of the past: neither a share of
\* another committee nor the seed of a round that is over.
NoOldShare == \A k \in Runs : Over /\ ~Unsettled(k) => holding[k].round \in {0, office}
NoOldSeed  == \A k \in Runs : Over /\ ~Unsettled(k) => pending[k] = 0

\* Reached states: each of these must fail.
NeverMade     == office = 0
NeverReshared == ~(office # 0 /\ froms[office] # 0)
NeverWithout  == ~(n > 1 /\ phase = "join" /\ Cardinality(invited) < asked)
NeverFailed   == phase # "failed"
NeverSpoilt   == ~(phase = "done" /\ Good # dealt)
NeverEvicted  == \A k \in Runs : ~(Over /\ office > 1 /\ k \in First \ players[office] /\ holding[k] = None)
NeverJoins    == \A k \in Runs : ~(k \notin First /\ holding[k] # None)
NeverCorrupt  == bad = Bad0
NeverFewer    == ~(phase = "done" /\ Cardinality(joined) < asked)

\* Liveness: the first key is made whatever fewer than a quorum do.
Makes == <>(office # 0)
=============================================================================
