export class Play { constructor(d) {} follow() {} }
